"""Attention laid over an answer's pictures, ready for the page."""

import numpy as np
from numpy.typing import NDArray

from mmrns.explanation import Attention, Explainer, Shown
from mmrns.explanation.pictures import EncoderView, Pixels, overlay
from mmrns.explorer.results import HeatMap, RelationHeat
from mmrns.report.thumbnails import data_uri

# Attention that is even within this much looks even.
LEAST_SPAN = 0.25
_PICTURES_AT_MOST, _RELATIONS_AT_MOST = 3, 6


def heat_maps(
    explainer: Explainer, view: EncoderView, entity: Shown, attention: list[Attention]
) -> tuple[list[HeatMap], float]:
    """A map for each of the first pictures, and the span of their colours; none where tokens have no known place."""
    found = next((attended for attended in attention if attended.modality == "image"), None)
    if found is None or not found.weight_free or explainer.regions is None or not view.exact:
        return [], LEAST_SPAN
    free, guided = (explainer.regions.heat(np.asarray(weights)) for weights in (found.weight_free, found.weight_guided))
    span = _span(free, guided)
    pictures = [picture for file in entity.pictures[:_PICTURES_AT_MOST] if (picture := view(file)) is not None]
    maps = [HeatMap(data_uri(p), *(data_uri(overlay(p, heat, span)) for heat in (free, guided))) for p in pictures]
    return maps, span


def under_relations(explainer: Explainer, view: EncoderView, row: int, asked: int) -> list[RelationHeat]:
    """The entity's first picture under the relation asked and others that train shows it in, the most frequent first.

    All have the colours of one span, so that they can be compared.
    """
    regions = explainer.regions
    picture = next((p for file in explainer.entities[row].pictures if (p := view(file)) is not None), None)
    if picture is None or regions is None:
        return []
    heats: list[tuple[int, NDArray[np.float64]]] = []
    for relation in _relations(explainer, row, asked):
        image = [attended for attended in explainer.attention(row, relation) if attended.modality == "image"]
        if image and image[0].weight_guided:
            heats.append((relation, regions.heat(np.asarray(image[0].weight_guided))))
    span = _span(*(heat for _, heat in heats))
    labels = explainer.dataset.relations.labels
    small: Pixels = np.ascontiguousarray(picture[::2, ::2])
    return [RelationHeat(labels[r], data_uri(overlay(small, heat, span)), r == asked) for r, heat in heats]


def _relations(explainer: Explainer, row: int, asked: int) -> list[int]:
    train = explainer.dataset.train
    counts = np.bincount(train[(train[:, [0, 2]] == row).any(1), 1], minlength=len(explainer.dataset.relations))
    others = [relation for relation in np.argsort(-counts, kind="stable").tolist() if counts[relation]]
    return [asked, *(relation for relation in others if relation != asked)][:_RELATIONS_AT_MOST]


def _span(*heats: NDArray[np.float64]) -> float:
    return max(LEAST_SPAN, *(float(np.nanmax(np.abs(heat - 1))) for heat in heats))
