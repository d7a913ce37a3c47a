"""An analysis as pictures: spectra, the plane of alignment and uniformity, and maps with pictures as points."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from mmrns.analysis import Analysis, Map

Thumbnail = Callable[[int], NDArray[np.uint8] | None]
"""An entity's row -> a small picture, or None."""

# Okabe and Ito's colours, then Tol's muted ones: people with any colour vision can tell most of them apart.
_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000",
    "#882255", "#44AA99", "#999933", "#AA4499", "#DDCC77", "#117733", "#661100", "#332288",
)  # fmt: skip
_OTHER = "#BBBBBB"
_METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
# Pictures that fit side by side; one that would hide another is left out, and its point stays.
_PICTURES_ACROSS, _PICTURE_POINTS = 19, 19
_STYLE: Any = {"font.size": 9, "axes.titlesize": 10, "text.parse_math": False, "axes.spines.top": False,
          "axes.spines.right": False}  # fmt: skip


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def spectra_figure(analysis: Analysis) -> Figure:
    """Singular values of every space beside those of random vectors, both over their sum."""
    shown = [space for space in analysis.spaces if len(space.spectrum) > 1]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    with rc_context(_STYLE):
        figure = _figure(3.3 * columns, 2.7 * rows + 0.4)
        figure.suptitle(f"Singular values over their sum: {analysis.run}", x=0.01, ha="left", fontsize=10)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for place, space in zip(axes, shown, strict=False):
            for values, colour, style, label in (
                (space.random_spectrum, _OTHER, "--", "random"),
                (space.spectrum, _COLOURS[0], "-", "this space"),
            ):
                number = np.arange(1, len(values) + 1)
                place.plot(number, np.maximum(values, 1e-6), style, color=colour, label=label)
            place.set(yscale="log", xlim=(0, None))
            place.yaxis.set_major_formatter("{x:g}")
            place.yaxis.set_minor_formatter(NullFormatter())
            rank = next((m for m in space.measures if m.name == "effective_rank"), None)
            beside = f" (random {rank.random:.1f})" if rank is not None and rank.random is not None else ""
            said = f"\neffective rank {rank.value:.1f}{beside}" if rank is not None and rank.value is not None else ""
            place.set_title(space.name + said)
        for place in axes[len(shown) :]:
            place.axis("off")
        axes[0].legend(frameon=False)
        axes[0].set_ylabel("share")
    return figure


def plane_figure(analyses: Sequence[Analysis], labels: Sequence[str]) -> Figure:
    """Alignment against uniformity: a colour a run, a mark a space, and the course of the entities over training."""
    marks = {"entities": "o", "image": "s", "text": "^", "kca-image": "P", "kca-text": "X", "kca-structure": "D"}
    with rc_context(_STYLE):
        figure = _figure(7.4, 5)
        axes = figure.subplots()
        used: list[str] = []
        baseline: list[tuple[float, float]] = []
        for place, (analysis, label, colour) in enumerate(zip(analyses, labels, _wheel(len(analyses)), strict=True)):
            if analysis.history:
                steps = [(moment.uniformity, moment.alignment) for moment in analysis.history]
                axes.plot(*zip(*steps, strict=True), "-", color=colour, alpha=0.5, linewidth=1)
                _points(axes, steps, s=7, color=colour, alpha=0.5)
                axes.annotate(f"step {analysis.history[0].step}", steps[0], fontsize=7, color=colour,
                              xytext=(5, 3 - 9 * place), textcoords="offset points")  # fmt: skip
            for space in analysis.spaces:
                point = _plane_point(space.measures, "value")
                if point is None or space.name not in marks:
                    continue
                _points(axes, [point], s=70, color=colour, marker=marks[space.name], edgecolor="white", zorder=3)
                used.append(space.name)
                if (random := _plane_point(space.measures, "random")) is not None:
                    baseline.append(random)
            axes.scatter([], [], color=colour, label=label)
        if baseline:
            _points(axes, baseline, s=30, color=_OTHER, marker="x", label="random vectors")
        for name, mark in marks.items():
            if name in used:
                axes.scatter([], [], color="#666666", marker=mark, label=name)
        axes.set(xlabel="uniformity: lower spreads more", ylabel="alignment: lower is nearer",
                 title="Answers of one query near one another (down), all apart (left)")  # fmt: skip
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _points(axes: Axes, places: Any, **style: Any) -> None:
    x, y = np.asarray(places, dtype=float).T
    axes.scatter(x, y, **style)


def _plane_point(measures: Any, field: str) -> tuple[float, float] | None:
    found = {m.name: getattr(m, field) for m in measures}
    x, y = found.get("uniformity"), found.get("alignment")
    return None if x is None or y is None else (x, y)


def map_figure(points: Map, title: str, types: Sequence[str | None], thumbnail: Thumbnail) -> Figure:
    """A space in the plane by each method, coloured by type, with some entities' pictures as points.

    Args:
        types: of every entity, by row.
        thumbnail: pictures by row.
    """
    kinds = [types[row] for row in points.rows]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds) if kind is not None}
    order = sorted(counts, key=lambda kind: -counts[kind])
    colours = dict(zip(order, _wheel(len(order)), strict=True))
    with rc_context(_STYLE):
        figure = _figure(6.6 * len(points.methods) + 1.5, 6.2)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        for axes, (method, places) in zip(
            figure.subplots(1, len(points.methods), squeeze=False)[0], points.methods.items(), strict=True
        ):
            _draw_map(axes, np.asarray(places), kinds, colours, points.rows, thumbnail)
            axes.set_title(_METHODS.get(method, method))
        last = figure.axes[-1]
        for kind in order[: len(_COLOURS)]:
            last.scatter([], [], color=colours[kind], label=f"{kind} ({counts[kind]})")
        if order:
            last.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _draw_map(
    axes: Axes, places: NDArray[np.float64], kinds: Sequence[str | None], colours: dict[str, str],
    rows: Sequence[int], thumbnail: Thumbnail,
) -> None:  # fmt: skip
    colour = [colours[kind] if kind is not None else _OTHER for kind in kinds]
    _points(axes, places, s=12, c=colour, alpha=0.75, linewidth=0)
    span = np.ptp(places, axis=0)
    apart = np.where(span > 0, span, 1) / _PICTURES_ACROSS
    shown = np.zeros((0, 2))
    for place, row, edge in zip(places, rows, colour, strict=True):
        if (np.abs(shown - place) < apart).all(1).any() or (picture := thumbnail(row)) is None:
            continue
        shown = np.concatenate([shown, [place]])
        image = OffsetImage(picture, zoom=_PICTURE_POINTS / max(picture.shape[:2]))
        axes.add_artist(
            AnnotationBbox(image, tuple(place), frameon=True, pad=0.1, bboxprops={"edgecolor": edge, "linewidth": 1.2})
        )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _wheel(number: int) -> list[str]:
    """A colour each; those beyond the last are grey."""
    return [_COLOURS[place] if place < len(_COLOURS) else _OTHER for place in range(number)]
