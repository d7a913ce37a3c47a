"""The page of several runs side by side."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmrns.experiments.bootstrap import Difference
from mmrns.inference.card import sample_of
from mmrns.report.charts import Chart, Points, dot_chart, line_chart
from mmrns.report.comparison import Comparison, Setting
from mmrns.report.estimates import METRICS, TITLES
from mmrns.report.finished_run import curve, scalars
from mmrns.report.page import render
from mmrns.report.run_page import HARDNESS_NOTE

# What is overlaid: name of the figure, scalar, title, note, in per cent.
_CURVES = (
    ("loss", "train/loss", "Loss", "Of different objectives, losses are not comparable.", False),
    ("entropy", "train/entropy/all", "Entropy of the draw", "Over that of a uniform draw: 1 is uniform.", False),
    ("mistakes", "train/false_negative_rate", "False negatives", "Share of draws that valid or test lists.", True),
)


def comparison_page(comparison: Comparison, folders: Sequence[Path]) -> str:
    """The HTML of the page."""
    names = [setting.name for setting in comparison.settings]
    charts = {"parts": _part_charts(comparison), "training": _training(comparison), "results": [_hits(comparison)]}
    return render(
        "comparison.html",
        c=comparison,
        title=f"{len(names)} settings on {comparison.dataset}" if len(names) > 1 else names[0],
        sections={
            "short": "In short", "results": "Results", "parts": "Parts of the test set", "training": "Training",
            "queries": "Queries", "making": "How they were made",
        },
        charts={name: [chart for chart in group if chart] for name, group in charts.items()},
        short=in_short(comparison),
        metrics=METRICS,
        metric_titles=TITLES,
        command=shlex.join(["mmrns", "report", *map(str, folders)]),
    )  # fmt: skip


def in_short(comparison: Comparison) -> list[str]:
    """What the page says, in a few sentences."""
    ranked = sorted(comparison.settings, key=lambda setting: -setting.test["mrr"].mean)
    order = ", ".join(f"{setting.name} {setting.test['mrr'].mean:.4f}" for setting in ranked)
    said = [f"By test MRR: {order} ({comparison.queries:,} queries). {sample_of(ranked[0].metrics[0])}".strip()]
    first = comparison.settings[0].name
    said += [f"{entry.name} against {first}: {_verdict(entry.differences['mrr'])}" for entry in comparison.compared]
    if len(comparison.settings) > 1 and all(len(setting.runs) == 1 for setting in comparison.settings):
        said.append("One seed each: what another seed would change is not in these intervals.")
    return said


def _verdict(difference: Difference) -> str:
    said = f"MRR {difference.mean:+.4f} (95 % interval {difference.low:+.4f} to {difference.high:+.4f})"
    if difference.low <= 0 <= difference.high:
        return f"{said}; the interval holds 0, so this test set cannot tell them apart."
    return f"{said}; the interval leaves 0 out."


def _hits(comparison: Comparison) -> Chart | None:
    series: dict[str, Points] = {
        setting.name: ([k for k, _ in setting.hits], [value for _, value in setting.hits])
        for setting in comparison.settings
    }
    note = "How often the answer is among the first k; of the first seed."
    return line_chart("hits", "Hits@k", series, "k", note=note, log=True, percent=True)


def _part_charts(comparison: Comparison) -> list[Chart | None]:
    names = [setting.name for setting in comparison.settings]
    rows = [
        (parts[0].group, parts[0].name, parts[0].count, [part.metrics.get("mrr") for part in parts])
        for parts in zip(*(setting.parts for setting in comparison.settings), strict=True)
    ]
    note = "In brackets the number of queries; lines are 95 % intervals of each, not of their difference."
    if len(names) > 1:
        note += f" All settings are parted as {names[0]} is, by its train split and its features."
    return [
        dot_chart("parts", "MRR of parts", [row for row in rows if row[0] != "Relation"], names, "MRR", note),
        dot_chart("relations", "MRR by relation", [row for row in rows if row[0] == "Relation"], names, "MRR", note),
    ]


def _training(comparison: Comparison) -> list[Chart | None]:
    charts = _valid_charts(comparison.settings)
    for name, scalar, title, note, percent in _CURVES:
        series = {setting.name: _mean_curve(setting.histories, scalar) for setting in comparison.settings}
        charts.append(line_chart(name, title, series, "step", note=note, percent=percent))
    logged = dict.fromkeys(
        name for setting in comparison.settings for name in scalars(setting.histories[0], "train/hardness")
    )
    for number, scalar in enumerate(logged):
        series = {setting.name: _mean_curve(setting.histories, scalar) for setting in comparison.settings}
        charts.append(line_chart(f"hardness-{number}", _title(scalar), series, "step", note=HARDNESS_NOTE))
    return charts


def _valid_charts(settings: Sequence[Setting]) -> list[Chart | None]:
    """A chart for each set of triples that checkpoints were selected on: MRRs of two sets are not comparable."""
    of_set: dict[str, list[Setting]] = {}
    for setting in settings:
        if setting.valid:
            of_set.setdefault(_selected_on(setting), []).append(setting)
    charts = []
    for number, (note, members) in enumerate(of_set.items()):
        series = {setting.name: _mean_curve(setting.histories, "valid/mrr") for setting in members}
        title = "MRR on held-out" if note else "MRR on valid"
        charts.append(line_chart(f"valid-{number}", title, series, "step", note=note))
    return charts


def _selected_on(setting: Setting) -> str:
    """Which slice of train was held out; "" of the published valid."""
    if setting.config["validation"] != "held-out":
        return ""
    held_out, seed = setting.config["held_out"], setting.config["held_out_seed"]
    return f"On a slice held out of train: --held-out {held_out:g}, --held-out-seed {seed}."


def _title(scalar: str) -> str:
    return scalar.removeprefix("train/").replace("/", " ").capitalize()


def _mean_curve(histories: list[list[dict[str, Any]]], scalar: str) -> Points:
    """Mean over seeds, at the steps that all of them logged."""
    curves = [dict(zip(*curve(history, scalar), strict=True)) for history in histories]
    steps = sorted(set.intersection(*map(set, curves)))
    return steps, [float(np.mean([values[step] for values in curves])) for step in steps]
