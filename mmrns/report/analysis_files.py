"""The files of an analysis: analysis.json, maps.json and pictures, in the run's own folder."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mmrns.analysis import Analysis, Picture
from mmrns.analysis.result import FOLDER, FORMAT
from mmrns.explanation import Explainer
from mmrns.files import write_json, write_text
from mmrns.report.analysis_figures import map_figure, plane_figure, spectra_figure
from mmrns.report.entity_pictures import thumbnails
from mmrns.report.explained_figure import save_figure

_THUMBNAIL = 48


def as_json(analysis: Analysis) -> dict[str, Any]:
    """What analysis.json holds: all of an analysis but the points of its maps."""
    return {name: value for name, value in asdict(replace(analysis, maps=[])).items() if name != "maps"}


def write_analysis(analysis: Analysis, explainer: Explainer, beside: Sequence[Analysis]) -> Analysis:
    """Draw an analysis and write it into RUN/analysis; analysis.json comes last.

    Args:
        explainer: what the analysis was made of.
        beside: the runs of the alignment-uniformity plane, this one among them.

    Returns:
        The analysis with the pictures that were drawn.
    """
    folder = Path(analysis.run) / FOLDER
    facts = explainer.dataset
    types = [facts.records.get(name, {}).get("type") for name in facts.entities.ids]
    picture = thumbnails(explainer.entities, _THUMBNAIL)
    titles = {space.name: space.title for space in analysis.spaces}
    drawn = []
    for points in analysis.maps:
        file = f"map-{points.space}.png"
        save_figure(map_figure(points, titles[points.space], types, picture), folder / file)
        methods = " and ".join(points.methods)
        alt = f"{len(points.rows)} entities in the plane by {methods}, coloured by type, some shown by their picture"
        drawn.append(Picture(file, f"Map: {titles[points.space]}", alt))
    save_figure(spectra_figure(analysis), folder / "spectra.png")
    drawn.append(Picture("spectra.png", "Singular values", _spectra_in_words(analysis)))
    labels = [Path(each.run).name for each in beside]
    save_figure(plane_figure(beside, labels), folder / "plane.png")
    drawn.append(Picture("plane.png", "Alignment and uniformity", _plane_in_words(beside, labels)))
    names = {picture.file for picture in drawn}
    for stale in folder.glob("map-*.png"):
        if stale.name not in names:
            stale.unlink()
    write_text(folder / "maps.json", json.dumps(_maps(analysis, explainer), ensure_ascii=False))
    complete = replace(analysis, pictures=drawn)
    write_json(folder / "analysis.json", as_json(complete))
    return complete


def _maps(analysis: Analysis, explainer: Explainer) -> dict[str, Any]:
    names, records = explainer.dataset.entities, explainer.dataset.records
    return {
        "format": FORMAT,
        "maps": [
            {
                "space": points.space,
                "ids": [names.ids[row] for row in points.rows],
                "labels": [names.labels[row] for row in points.rows],
                "types": [records.get(names.ids[row], {}).get("type") for row in points.rows],
                "methods": points.methods,
            }
            for points in analysis.maps
        ],
    }


def _spectra_in_words(analysis: Analysis) -> str:
    said = []
    for space in analysis.spaces:
        rank = next((m for m in space.measures if m.name == "effective_rank"), None)
        if rank is not None and rank.value is not None and rank.random is not None:
            said.append(f"{space.name} {rank.value:.1f} (random {rank.random:.1f})")
    return "Singular values of each space beside random vectors'. Effective ranks: " + ", ".join(said)


def _plane_in_words(analyses: Sequence[Analysis], labels: Sequence[str]) -> str:
    said = []
    for analysis, label in zip(analyses, labels, strict=True):
        found = {m.name: m.value for space in analysis.spaces if space.name == "entities" for m in space.measures}
        if (found.get("alignment"), found.get("uniformity")).count(None) == 0:
            said.append(f"{label}: alignment {found['alignment']:.3f}, uniformity {found['uniformity']:.3f}")
    return "Alignment against uniformity of each run's spaces. Entities of " + "; ".join(said)
