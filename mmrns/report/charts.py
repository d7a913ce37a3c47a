"""Charts of a page: an SVG, and the same numbers as a table for who does not see it."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from mmrns.report.estimates import Estimate
from mmrns.report.svg import INK, QUIET, SERIES, STYLE, inline_svg, plain

Points = tuple[Sequence[float], Sequence[float]]
DotRow = tuple[str, str, int, Sequence[Estimate | None]]

# Inches at 72 points: a phone shows it at its own size, and two stand side by side on a desk.
_WIDTH, _HEIGHT = 4.5, 2.75
_MARKERS, _DASHES = "osD^vPX*", ("-", "--", "-.", ":")
_MOST_ROWS, _LABEL = 12, 32


@dataclass(frozen=True)
class Chart:
    """A figure of the page.

    Attributes:
        title, note: what it shows, and how to read it.
        svg: the drawing.
        header, rows: its numbers.
    """

    title: str
    note: str
    svg: Markup
    header: list[str]
    rows: list[list[str]]


def line_chart(
    name: str,
    title: str,
    series: Mapping[str, Points],
    x: str,
    *,
    note: str = "",
    log: bool = False,
    marked: float | None = None,
    percent: bool = False,
) -> Chart | None:
    """Lines over x; None where no series has a point.

    Args:
        name: of the figure, unique in its page.
        series: label -> x and y values.
        log: x on a logarithmic scale.
        marked: an x that a vertical line marks.
        percent: y in per cent.
    """
    series = {label: points for label, points in series.items() if len(points[0])}
    if not series:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes = figure.subplots()
        dotted = max(len(xs) for xs, _ in series.values()) <= 25
        for number, (label, (xs, ys)) in enumerate(series.items()):
            axes.plot(
                xs,
                100 * np.asarray(ys) if percent else ys,
                color=SERIES[number % len(SERIES)],
                linestyle=_DASHES[number // 2 % len(_DASHES)],
                marker=_MARKERS[number % len(_MARKERS)] if dotted else None,
                label=_short(label),
            )
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if marked is not None:
            axes.axvline(marked, color=QUIET, linestyle=":", linewidth=1)
        if percent:
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        axes.set_xlabel(x)
        _legend(figure, axes, len(series))
        drawn = inline_svg(figure, name, f"{title}: a line chart; its numbers are in the table below it")
    return Chart(title, note, drawn, [x, *map(plain, series)], _line_rows(series, percent))


def _line_rows(series: Mapping[str, Points], percent: bool) -> list[list[str]]:
    """A row for up to a dozen of the x values, evenly over all of them."""
    by_x = [dict(zip(*points, strict=True)) for points in series.values()]
    every = sorted(set(itertools.chain.from_iterable(by_x)))
    chosen = [every[int(place)] for place in np.unique(np.linspace(0, len(every) - 1, _MOST_ROWS).round())]
    form = "{:.3%}" if percent else "{:.4g}"
    return [[f"{x:g}", *(form.format(ys[x]) if x in ys else "" for ys in by_x)] for x in chosen]


def dot_chart(
    name: str, title: str, rows: Sequence[DotRow], series: Sequence[str], x: str, note: str = ""
) -> Chart | None:
    """Estimates with their intervals, a row a part, under the headings of their groups.

    Args:
        rows: group, part, number of queries, and an estimate for each of `series` (None: there is none).
    """
    rows = [row for row in rows if any(row[3])]
    if not rows:
        return None
    places: list[float] = []
    headings: list[tuple[float, str]] = []
    several = len({row[0] for row in rows}) > 1
    at = 0.0
    for number, (group, *_) in enumerate(rows):
        if several and (not number or rows[number - 1][0] != group):
            headings.append((at, group))
            at += 1
        places.append(at)
        at += 1
    with rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, 0.75 + 0.2 * at), layout="constrained")
        axes = figure.subplots()
        for number, label in enumerate(series):
            shift = (number - (len(series) - 1) / 2) * 0.7 / max(len(series), 2)
            found = [(place + shift, row[3][number]) for place, row in zip(places, rows, strict=True)]
            known = [(place, estimate) for place, estimate in found if estimate is not None]
            style: Any = {"color": SERIES[number % len(SERIES)]}
            for place, e in known:
                if e.low is not None and e.high is not None:
                    axes.plot([e.low, e.high], [place, place], linewidth=1.6, solid_capstyle="butt", **style)
            style |= {"linestyle": "none", "marker": _MARKERS[number % len(_MARKERS)], "markersize": 4.5}
            axes.plot([e.value for _, e in known], [place for place, _ in known], label=_short(label), **style)
        axes.set_ylim(at - 0.4, -0.6)
        axes.set_yticks([*places], [_short(f"{row[1]}  ({row[2]})") for row in rows])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(axis="y", visible=False)
        for place, heading in headings:
            axes.text(0, place, heading, transform=axes.get_yaxis_transform(), va="center", color=QUIET, fontsize=8)
        axes.set_xlabel(x)
        _legend(figure, axes, len(series))
        drawn = inline_svg(figure, name, f"{title}: dots with intervals; the numbers are in the table below it")
    header = ["part", "queries", *(plain(label) for label in series)]
    table = [
        [f"{group}: {plain(part)}" if several else plain(part), str(count), *map(_estimate, estimates)]
        for group, part, count, estimates in rows
    ]
    return Chart(title, note, drawn, header, table)


def reliability_chart(name: str, bins: Sequence[Mapping[str, float]]) -> Chart | None:
    """Predicted probabilities against what came true, with Wilson's intervals."""
    if not bins:
        return None
    mean, observed, low, high = ([b[key] for b in bins] for key in ("mean", "observed", "low", "high"))
    with rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT + 0.5), layout="constrained")
        axes = figure.subplots()
        most = max(*mean, *high) * 1.03
        axes.plot([0, most], [0, most], color=QUIET, linestyle=":", linewidth=1, label="what it should be")
        axes.vlines(mean, low, high, color=SERIES[0], linewidth=1.6)
        axes.plot(mean, observed, marker="o", color=SERIES[0], linestyle="none", label="what came true, with interval")
        axes.set(xlabel="predicted probability", ylabel="share that came true")
        axes.yaxis.label.set_color(QUIET)
        _legend(figure, axes, 2)
        drawn = inline_svg(figure, name, "Reliability diagram; its numbers are in the table below it")
    rows = [
        [f"{b['mean']:.4f}", f"{b['observed']:.4f}", f"{b['low']:.4f} to {b['high']:.4f}", f"{int(b['count'])}"]
        for b in bins
    ]
    header = ["predicted", "came true", "95 % interval", "facts"]
    note = "Points on the dotted line are probabilities that mean what they say."
    return Chart("Reliability of the probabilities", note, drawn, header, rows)


def histogram(name: str, title: str, values: Sequence[float], x: str, note: str = "") -> Chart:
    """How values are spread, with a line at 0."""
    counts, edges = np.histogram(values, bins=min(30, max(5, len(values) // 12)))
    with rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT - 0.3), layout="constrained")
        axes = figure.subplots()
        axes.bar(edges[:-1], counts, np.diff(edges) * 0.92, align="edge", color=SERIES[0])
        axes.axvline(0, color=INK, linewidth=1)
        axes.set(xlabel=x, ylabel="questions")
        axes.grid(axis="x", visible=False)
        drawn = inline_svg(figure, name, f"{title}: a histogram; its quartiles are in the table below it")
    quantiles = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    rows = [[text, f"{value:+.4f}"] for text, value in zip(
        ("least", "first quartile", "median", "third quartile", "most"), quantiles, strict=True
    )]  # fmt: skip
    return Chart(title, note, drawn, ["of the questions", x], rows)


def _legend(figure: Figure, axes: Axes, entries: int) -> None:
    """Above the axes; one line of several columns on as many rows as it needs."""
    if entries < 2:
        return
    longest = max(len(text.get_text()) for text in axes.legend().get_texts())
    axes.get_legend().remove()  # type: ignore[union-attr]
    columns = max(1, min(entries, 64 // (longest + 6)))
    figure.legend(loc="outside upper left", ncols=columns, borderaxespad=0.2, handlelength=2.2, columnspacing=1.2)


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    interval = "" if estimate.low is None else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{estimate.value:.4f}{interval}"


def _short(text: str) -> str:
    text = plain(text)
    return text if len(text) <= _LABEL else text[: _LABEL - 1].rstrip() + "…"
