"""The page of one run: its charts, its sentences, and the template they go into."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmrns.explanation.pictures import overlay
from mmrns.inference.card import sample_of
from mmrns.report.charts import Chart, dot_chart, histogram, line_chart, reliability_chart
from mmrns.report.estimates import METRICS, TITLES, Estimate, Part
from mmrns.report.finished_run import curve, scalars
from mmrns.report.page import render
from mmrns.report.run_report import Pictured, RunReport
from mmrns.report.thumbnails import data_uri, drawing

# Attention that is even within this much looks even.
_LEAST_SPAN = 0.1
HARDNESS_NOTE = "Mean score of what was drawn less that of uniform draws from the same pool."


@dataclass(frozen=True)
class Heat:
    """A picture under its attention map: what it shows, the drawing as a data URI, and the map in words."""

    caption: str
    picture: str
    words: str


def run_page(report: RunReport, pictured: Pictured, folder: Path) -> str:
    """The HTML of a run's page; `folder` is the run folder as the reader would name it."""
    charts = {
        "results": [_hits(report)],
        "parts": _part_charts(report.parts),
        "training": _training(report),
        "sampler": _sampler(report),
        "probabilities": _probabilities(report),
    }
    maps = [
        (str(picture.get("title")), str(picture.get("alt")), drawn)
        for picture in (report.analysis or {}).get("pictures", [])
        if (drawn := drawing(pictured.analysis, str(picture.get("file")))) is not None
    ]
    sections = {
        "short": "In short", "results": "Results", "parts": "Parts of the test set", "training": "Training",
        "sampler": "The negative sampler", "queries": "Queries", "probabilities": "Probabilities of new facts",
        "maps": "Embeddings", "making": "How it was made",
    }  # fmt: skip
    if not report.analysis:
        del sections["maps"]
    if not report.calibration:
        del sections["probabilities"]
    return render(
        "run.html",
        report=report,
        title=f"{title_of(report.metrics)} on {report.metrics['dataset']}",
        sections=sections,
        charts={name: [chart for chart in group if chart] for name, group in charts.items()},
        short=in_short(report),
        selection=f"{selection_of(report.metrics)} {sample_of(report.metrics)}".strip(),
        whole=report.parts[0],
        metric_titles=TITLES,
        metrics=METRICS,
        heat=_heat(report, pictured),
        maps=maps,
        concerns=_concerns(report.analysis or {}),
        commands=_commands(report, folder),
    )


def title_of(metrics: dict[str, Any]) -> str:
    """What was trained and with which negatives, e.g. "rotate with mmrns negatives"."""
    sampler, objective = metrics.get("sampler"), metrics.get("objective", "sampled")
    if objective == "sampled":
        return f"{metrics['model']} with {sampler} negatives"
    beside = "" if sampler == "none" else f" and {sampler} negatives"
    return f"{metrics['model']} with {objective}{beside}"


def in_short(report: RunReport) -> list[str]:
    """What the page says, in a few sentences."""
    by_name = {(part.group, part.name): part for part in report.parts}
    whole = report.parts[0].metrics
    said = [
        f"The true answer is among the first ten for {_per_cent(whole['hits@10'].value)} of the "
        f"{report.parts[0].count:,} test queries and comes first for {_per_cent(whole['hits@1'].value)}; "
        f"MRR is {_with_interval(whole['mrr'])}."
    ]
    tail, head = by_name["Asked for", "tail: (h, r, ?)"], by_name["Asked for", "head: (?, r, t)"]
    better, worse = sorted((tail, head), key=lambda part: -part.metrics["mrr"].value)
    said.append(
        f"{better.name[:4].capitalize()}s are found better (MRR {better.metrics['mrr'].value:.3f}) than "
        f"{worse.name[:4]}s ({worse.metrics['mrr'].value:.3f})."
    )
    unseen = by_name["Entities in train", "one unseen"]
    if unseen.count:
        said.append(
            f"{unseen.count:,} queries have an entity that train never shows; their MRR is "
            f"{unseen.metrics['mrr'].value:.3f}."
        )
    if report.hardness is not None:
        said.append(f"Are the sampler's negatives harder than uniform ones? {report.hardness.verdict}")
    if report.relation_effect is not None:
        said.append(f"Does the relation change what the sampler attends to? {report.relation_effect.verdict}")
    if report.calibration is not None:
        errors = report.calibration["errors"]
        said.append(
            f"Of the facts that it proposes when test is hidden, {errors['observed']:,} are in test, where its "
            f"probabilities promise {errors['expected']:,.0f}."
        )
    return said


def _per_cent(value: float) -> str:
    return f"{100 * value:.1f} %"


def selection_of(metrics: dict[str, Any]) -> str:
    """How the weights were chosen."""
    selection = metrics["selection"]
    if selection.get("rule") == "last":
        return f"The weights are those of the last step, {selection['step']}; valid had no say."
    split = {"held-out": "a slice held out of train"}.get(selection["split"], selection["split"])
    metric = str(selection.get("metric")).removeprefix("both.")
    return f"The weights are those of step {selection['step']}, the best by {TITLES.get(metric, metric)} on {split}."


def _with_interval(estimate: Estimate) -> str:
    if estimate.low is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} (95 % interval {estimate.low:.3f} to {estimate.high:.3f})"


def _hits(report: RunReport) -> Chart | None:
    points = [k for k, _ in report.hits], [value for _, value in report.hits]
    note = "How often the answer is among the first k; test, both directions."
    return line_chart("hits", "Hits@k", {"Hits@k": points}, "k", note=note, log=True, percent=True)


def _part_charts(parts: list[Part]) -> list[Chart | None]:
    rows = [(part.group, part.name, part.count, [part.metrics.get("mrr")]) for part in parts]
    of_relations = [row for row in rows if row[0] == "Relation"]
    of_parts = [row for row in rows if row[0] != "Relation"]
    note = "In brackets the number of queries; lines are 95 % intervals."
    return [
        dot_chart("parts", "MRR of parts", of_parts, ["MRR"], "MRR", note),
        dot_chart("relations", "MRR by relation", of_relations, ["MRR"], "MRR", note),
    ]


def _training(report: RunReport) -> list[Chart | None]:
    history, selected = report.history, float(report.metrics["selection"]["step"])
    valid = {TITLES[name]: curve(history, f"valid/{name}") for name in METRICS if name != "mr"}
    losses = {
        name.removeprefix("train/").replace("loss/kgc", "L_kgc").replace("loss/sampler", "sampler's own"): curve(
            history, name
        )
        for name in scalars(history, "train/loss")
        if any(curve(history, name)[1])  # a sampler without a loss of its own logs zeros
    }
    if len(losses) == 2:
        losses = dict(list(losses.items())[:1])  # the other is the same
    scores = {
        "true triples": curve(history, "train/score/positive"),
        "negatives": curve(history, "train/score/negative"),
    }
    shape = {name.removeprefix("embedding/"): curve(history, name) for name in scalars(history, "embedding/")}
    note = f"The dotted line is step {selected:g}, whose weights were kept."
    return [
        line_chart("valid", "Validation", valid, "step", note=note, marked=selected),
        line_chart("loss", "Loss", losses, "step", note="Of one batch each."),
        line_chart(
            "shape", "Entity embeddings", shape, "step", note="Of both, lower is better (Wang and Isola, 2020)."
        ),
        line_chart("scores", "Mean scores", scores, "step", note="The nearer the two, the harder the negatives."),
    ]


def _sampler(report: RunReport) -> list[Chart | None]:
    history = report.history
    entropy = {name.rpartition("/")[2]: curve(history, name) for name in scalars(history, "train/entropy/")}
    hardness = {name.removeprefix("train/"): curve(history, name) for name in scalars(history, "train/hardness")}
    found = [
        line_chart(
            "entropy", "Entropy of the draw", entropy, "step", note="Over that of a uniform draw: 1 is uniform."
        ),
        line_chart("epsilon", "Exploration temperature ε", {"ε": curve(history, "train/epsilon")}, "step"),
        line_chart("hardness", "Hardness", hardness, "step", note=HARDNESS_NOTE),
        line_chart(
            "mistakes",
            "False negatives",
            {"share": curve(history, "train/false_negative_rate")},
            "step",
            note="Share of the draws that are answers in valid or test.",
            percent=True,
        ),
    ]
    if report.hardness is not None:
        note = "Right of 0, the sampler's draw scores higher than a uniform one, so it is harder."
        title = "Sampler less uniform, by question"
        found.append(histogram("harder", title, report.hardness.by_question, "difference of the mean scores", note))
    return found


def _probabilities(report: RunReport) -> list[Chart | None]:
    quality = report.calibration
    if quality is None:
        return []
    series = {
        label: ([row["k"] for row in quality[key]], [row["precision"] for row in quality[key]])
        for label, key in (("by probability", "precision_at"), ("by bare score", "by_score"))
        if key in quality
    }
    note = f"Share of the first k proposed facts that test lists; it lists {quality['held_out']:,}."
    return [
        line_chart("precision", "Precision@k of new facts", series, "k", note=note, log=True, percent=True),
        reliability_chart("reliability", quality["reliability"]),
    ]


def _heat(report: RunReport, pictured: Pictured) -> list[Heat]:
    """The picture of the attention's example, plain and under each map; nothing where regions are unknown."""
    example, regions = report.attention, pictured.regions
    if example is None or regions is None or not pictured.view.exact or not example.without:
        return []
    picture = pictured.view(example.entity.pictures[0])
    if picture is None:
        return []
    weights = {"without a relation": example.without} | {f"under “{name}”": w for name, w in example.under.items()}
    maps = {caption: regions.heat(np.asarray(w)) for caption, w in weights.items()}
    span = max(_LEAST_SPAN, float(np.nanmax(np.abs(np.stack(list(maps.values())) - 1))))
    words = {
        caption: ", ".join(f"region {place} {share:.0%}" for place, share in enumerate(w, start=1))
        if len(w) <= 9
        else f"from {min(w):.1%} to {max(w):.1%} a region"
        for caption, w in weights.items()
    }
    return [Heat("the picture", data_uri(picture), "")] + [
        Heat(caption, data_uri(overlay(picture, heat, span)), words[caption]) for caption, heat in maps.items()
    ]


def _concerns(analysis: dict[str, Any]) -> list[dict[str, Any]]:
    """Measures of the embeddings, those first that give reason for concern."""
    measures = [
        {"space": space.get("title"), **measure}
        for space in analysis.get("spaces", [])
        for measure in space.get("measures", [])
        if measure.get("value") is not None
    ]
    return sorted(measures, key=lambda measure: not measure.get("concern"))


def _commands(report: RunReport, folder: Path) -> list[tuple[str, str]]:
    """What was done, and what repeats it."""
    recorded = str(report.environment.get("command", "not recorded"))
    name = shlex.quote(str(folder))
    return [
        ("As it was trained", recorded),
        (
            "The same again, from the options that the run keeps",
            f"mmrns train --config {name}/config.yaml --output NEW",
        ),
        ("This page", f"mmrns report {name}"),
    ]
