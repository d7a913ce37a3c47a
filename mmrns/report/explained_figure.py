"""An explanation as a figure: attention on the real picture, hard negatives as cards, and the ranking."""

import itertools
import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from mmrns.explanation.pictures import EncoderView, Pixels, overlay
from mmrns.explanation.regions import Regions
from mmrns.explanation.result import Attention, Explanation, Negative, Sampling, Shown, Side
from mmrns.files import atomic_path

# Okabe and Ito's colours, which people with any colour vision can tell apart.
COLOURS = {"new": "#0072B2", "train": "#8C8C8C", "valid": "#E69F00", "test": "#D55E00", "asked": "#009E73"}
MODALITY_COLOURS = {"image": "#CC79A7", "text": "#56B4E9", "structure": "#6B6B6B"}
_CARDS = 6
_WIDTH, _PICTURES_AT_MOST = 13.0, 3
# Attention that is even within this much looks even.
_LEAST_SPAN = 0.25
_STYLE: Any = {"font.size": 8.5, "axes.titlesize": 9, "text.parse_math": False, "axes.spines.top": False,
          "axes.spines.right": False}  # fmt: skip


def explanation_figure(
    explanation: Explanation, regions: Regions | None, view: EncoderView, sides: list[Side] | None = None
) -> Figure:
    """Draw the sides of an explanation (all by default) below one another.

    Args:
        regions: where image tokens lie; None draws image attention as bars.
        view: pictures as the encoder saw them.
    """
    sides = explanation.sides if sides is None else sides
    heights = [_height(side) for side in sides]
    with rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, 0.5 + sum(heights)), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        e = explanation
        known = f"known in {e.split}" if e.split else "not a known fact"
        figure.suptitle(
            f"{e.head.label}  –  {e.relation_label}  →  {e.tail.label}     "
            f"({known}; {e.model}, {e.sampler}, {e.dataset})",
            fontsize=12, fontweight="bold", x=0.01, ha="left",
        )  # fmt: skip
        parts = figure.subfigures(len(sides), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, side in zip(parts, sides, strict=True):
            _draw_side(part, explanation, side, regions, view)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, atomically; glyphs that no installed font has are drawn as boxes."""
    with atomic_path(path) as temporary, warnings.catch_warnings(), rc_context(_STYLE):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(temporary, dpi=130, format="png")


def _height(side: Side) -> float:
    return max(3.6, 0.45 + _attention_height(side) + 3.1)


def _attention_height(side: Side) -> float:
    if not side.attention:
        return 0.0
    return 2.9 if any(attended.weight_free for attended in side.attention) else 0.5


def _draw_side(
    figure: SubFigure, explanation: Explanation, side: Side, regions: Regions | None, view: EncoderView
) -> None:
    e = explanation
    ends = (e.head.label, "?") if side.asks == "tail" else ("?", e.tail.label)
    figure.suptitle(
        f"({ends[0]}, {e.relation_label}, {ends[1]}):  {side.answer.label} ranks {side.rank:g} of {side.candidates}",
        fontsize=10.5, x=0.01, ha="left",
    )  # fmt: skip
    left, right = figure.subfigures(1, 2, width_ratios=[3.1, 1], squeeze=False)[0]
    _ranking(right.subplots(), side)
    heights = [height for height in (_attention_height(side), 3.1) if height]
    rows = left.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    if side.attention:
        _attention(rows[0], side, e.relation_label, regions, view)
    if side.sampling is not None:
        _negatives(rows[-1], side.sampling, view)
    else:
        _answers(rows[-1], side, e.notes, view)


def _attention(figure: SubFigure, side: Side, relation: str, regions: Regions | None, view: EncoderView) -> None:
    """The picture, its heat without and with the relation, the relation's gate, and bars of the sentences."""
    by_modality = {attended.modality: attended for attended in side.attention}
    image, text = by_modality.get("image"), by_modality.get("text")
    pictures = [p for file in side.answer.pictures[:_PICTURES_AT_MOST] if (p := view(file)) is not None]
    if image is None or regions is None or not view.exact or not image.weight_free:
        columns = [a for a in (image, text) if a is not None]
        for axes, attended in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
            _bars(axes, attended, side.answer, relation)
        return
    axes = figure.subplots(1, 5 if text else 4, gridspec_kw={"width_ratios": [1] * 4 + ([1.75] if text else [])})
    free, guided = (regions.heat(np.asarray(weights)) for weights in (image.weight_free, image.weight_guided))
    span = max(_LEAST_SPAN, float(np.nanmax(np.abs(np.stack([free, guided]) - 1))))
    shown = pictures or [np.full((regions.rows * 16, regions.columns * 16, 3), 255, dtype=np.uint8)]
    axes[0].imshow(np.concatenate(shown, axis=1))
    several = f" ({len(side.answer.pictures)} pictures, one mean)" if len(side.answer.pictures) > 1 else ""
    axes[0].set_title(side.answer.label + several)
    # A gate of one half neither opens nor closes; a share's heat is in multiples of the even one, so this is too.
    gate = regions.heat(np.asarray(image.weight_gate)) / len(image.weight_gate) / 0.5
    for place, heat, full, values, title in (
        (axes[1], free, span, [f"{weight:.0%}" for weight in image.weight_free], "attention (no relation)"),
        (axes[2], guided, span, [f"{weight:.0%}" for weight in image.weight_guided], f"with '{_short(relation, 20)}'"),
        (axes[3], gate, 1.0, [f"{value:.2f}" for value in image.weight_gate], "its gate, 0 to 1"),
    ):
        place.imshow(np.concatenate([overlay(picture, heat, full) for picture in shown], axis=1))
        _values(place, values, regions, shown[0], len(shown))
        place.set_title(title)
    key = axes[1].text(0, -0.04, f"orange: more than even (gate: than 0.5), violet: less; full colour at ± {span:.0%} "
                       "(0 and 1)", transform=axes[1].transAxes, va="top", fontsize=7.5)  # fmt: skip
    key.set_in_layout(False)
    for place in axes[:4]:
        place.axis("off")
    if text:
        _bars(axes[4], text, side.answer, relation)


def _values(axes: Axes, values: list[str], regions: Regions, picture: Pixels, copies: int) -> None:
    """A region's value at its middle, where regions are few enough to be read."""
    side = round(len(values) ** 0.5)
    if side > 4 or side * side != len(values) or regions.outside.max() > 0 or copies > 1:
        return
    rows, columns = np.indices((regions.rows, regions.columns)).reshape(2, -1)
    height, width = picture.shape[:2]
    for value, share in zip(values, regions.shares, strict=True):
        y = (share @ rows + 0.5) * height / regions.rows
        x = (share @ columns + 0.5) * width / regions.columns
        axes.text(x, y, value, color="white", ha="center", va="center", fontsize=8,
                  bbox={"facecolor": "black", "alpha": 0.45, "pad": 1.2, "linewidth": 0})  # fmt: skip


def _bars(axes: Axes, attended: Attention, entity: Shown, relation: str) -> None:
    """Shares of sentences, or of regions where they cannot be placed, without and with the relation, and its gate."""
    there = [number for number, present in enumerate(attended.present) if present]
    if not attended.weight_free:
        axes.axis("off")
        axes.text(0, 0.5, f"The {attended.modality} of {entity.label} has no {attended.attended_from} to attend from: "
                          "all of it counts evenly.")  # fmt: skip
        return
    unit = "sentence" if attended.modality == "text" else "region"
    labels = [
        _short(entity.texts[number], 42) if attended.modality == "text" and number < len(entity.texts)
        else f"{unit} {number + 1}"
        for number in there
    ]  # fmt: skip
    at = np.arange(len(there))[::-1]
    axes.barh(at + 0.17, [attended.weight_free[n] for n in there], 0.3, color="#B0B0B0", label="without the relation")
    axes.barh(at - 0.17, [attended.weight_guided[n] for n in there], 0.3, color="#D55E00", label=f"with '{relation}'")
    for y, label, number in zip(at, labels, there, strict=True):
        axes.text(0, y + 0.36, label, va="bottom", fontsize=7.5)
        axes.text(1, y, f"gate\n{attended.weight_gate[number]:.2f}", va="center", ha="right", fontsize=7.5)
    axes.set_ylim(-0.6, len(there) - 0.1)
    axes.set_xlim(0, 1)
    axes.set_yticks([])
    axes.set_title(f"attention on {unit}s")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, fontsize=7, frameon=False)


def _negatives(figure: SubFigure, sampling: Sampling, view: EncoderView) -> None:
    """Cards: picture or text, how much likelier than uniform, and the similarity of each modality."""
    shown = sampling.negatives[:_CARDS]
    figure.suptitle(
        f"Hardest negatives of {sampling.sampler}: drawn first among {sampling.candidates} entities at epsilon "
        f"{sampling.epsilon:.2f} (entropy {sampling.entropy:.3f}; mean score {sampling.expected_score:.2f}, "
        f"uniform {sampling.uniform_score:.2f})",
        fontsize=9, x=0.01, ha="left",
    )  # fmt: skip
    axes = figure.subplots(2, _CARDS, height_ratios=[2.1, 1], squeeze=False)
    for column in range(_CARDS):
        if column < len(shown):
            _card(axes[0, column], shown[column], view)
            _similarities(axes[1, column], shown[column], names=column == 0)
        else:
            axes[0, column].axis("off")
            axes[1, column].axis("off")


def _card(axes: Axes, negative: Negative, view: EncoderView) -> None:
    mistake = f"\ntrue in {negative.known}" if negative.known else ""
    caption = f"p = {negative.probability:.2%}, {negative.times_uniform:.1f} x uniform{mistake}"
    _portrait(axes, negative.entity, view, negative.known, caption)


def _answers(figure: SubFigure, side: Side, notes: list[str], view: EncoderView) -> None:
    """The first places as cards, where there is no sampler to show."""
    figure.suptitle(". ".join(notes), fontsize=9, x=0.01, ha="left")
    for axes, answer in itertools.zip_longest(figure.subplots(1, _CARDS), side.ranking[:_CARDS]):
        if answer is None:
            axes.axis("off")
        else:
            kind = "asked" if answer.asked else answer.known or "new"
            _portrait(axes, answer.entity, view, kind, f"place {answer.place}: {kind}")


def _portrait(axes: Axes, entity: Shown, view: EncoderView, kind: str | None, caption: str) -> None:
    """An entity's picture, or its text, framed in the colour of its kind."""
    picture = next((p for file in entity.pictures if (p := view(file)) is not None), None)
    if picture is not None:
        axes.imshow(picture)
    else:
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", facecolor="#F2F2F2")
        text = textwrap.fill(_short(" ".join(entity.texts) or "no picture, no text", 95), 17)
        axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=7, color="#444444")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color=COLOURS[kind] if kind else "#BBBBBB", linewidth=3 if kind else 1)
    axes.set_title(_short(entity.label, 22), fontsize=8.5)
    axes.set_xlabel(caption, fontsize=8, color=COLOURS[kind] if kind else "black")


def _similarities(axes: Axes, negative: Negative, names: bool) -> None:
    modalities = list(negative.similarity)
    at = np.arange(len(modalities))[::-1]
    values = [negative.similarity[name] for name in modalities]
    axes.barh(
        at, [value or 0 for value in values], 0.62, color=[MODALITY_COLOURS.get(n, "#444444") for n in modalities]
    )
    for y, value in zip(at, values, strict=True):
        axes.text(0.03, y, "none" if value is None else f"{value:.2f}", va="center", fontsize=7)
    axes.set_xlim(min(0, *(value or 0 for value in values)), 1)
    axes.set_yticks(at, modalities if names else [""] * len(modalities))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)


def _ranking(axes: Axes, side: Side) -> None:
    """Scores of the first places, coloured by what is known of them."""
    answers = side.ranking
    at = np.arange(len(answers))[::-1]
    low = min(answer.score for answer in answers)
    span = max(answer.score for answer in answers) - low or 1.0
    kinds = ["asked" if answer.asked else answer.known or "new" for answer in answers]
    lengths = [0.12 + 0.88 * (answer.score - low) / span for answer in answers]
    axes.barh(at, lengths, 0.78, color=[COLOURS[kind] for kind in kinds], alpha=0.35)
    for y, answer in zip(at, answers, strict=True):
        weight: Any = "bold" if answer.asked else "normal"
        axes.text(0.015, y, f"{answer.place}. {_short(answer.entity.label, 24)}", va="center", fontweight=weight)
        axes.text(1.02, y, f"{answer.score:.2f}", va="center", fontsize=7)
    known = {split: count for split, count in side.above.items() if split != "new" and count}
    said = ", ".join(f"{count} {split}" for split, count in known.items())
    axes.set_title(
        f"Ranking. Above the answer:\n{side.above['new']} new" + (f"; known: {said}" if said else ""), loc="left"
    )
    axes.set_xlim(0, 1.12)
    axes.axis("off")
    for number, kind in enumerate(dict.fromkeys(kinds)):
        axes.text(0.02 + 0.19 * number, -0.02, kind, transform=axes.transAxes, color=COLOURS[kind], fontweight="bold")


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
