"""Everything that the page of a run shows, as plain data; `mmrns report --json` prints it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrns.analysis.result import FOLDER
from mmrns.errors import UserError
from mmrns.explanation import Explainer
from mmrns.explanation.pictures import EncoderView
from mmrns.explanation.regions import Regions
from mmrns.files import read_json
from mmrns.graph.dataset import SPLITS
from mmrns.inference.calibration import CALIBRATION_FILE, MOST_QUESTIONS, calibration
from mmrns.report.estimates import Part, estimates, hits_curve
from mmrns.report.examples import (
    AttentionExample,
    NegativesExample,
    QueryExample,
    attention_example,
    best_queries,
    frequent_relations,
    negatives_examples,
    query_examples,
    worst_queries,
)
from mmrns.report.finished_run import FinishedRun, read_run
from mmrns.report.sampler_evidence import Hardness, RelationEffect, measure_hardness, measure_relation_effect

# Larger graphs take minutes to calibrate, which `mmrns predict --all` may, and a report may not.
_MOST_SCORES = 100_000_000
_RELATIONS_DRAWN = 3


@dataclass(frozen=True)
class RunReport:
    """A run, measured and with examples.

    Attributes:
        name: the run folder's name.
        metrics, environment, history: what the run's files hold; config: its options.
        parts: the test metrics of all queries and of parts of them, with intervals.
        hits: (k, Hits@k) of test.
        graph: counts of entities, relations and triples; {} where the graph is not at hand.
        best, worst: test queries.
        hardness, relation_effect, negatives, attention: of the sampler; None or [] where there is none to look at.
        calibration: "quality" of RUN/calibration.json, or None.
        analysis: RUN/analysis/analysis.json, or None.
        notes: what the page lacks, and why.
    """

    name: str
    metrics: dict[str, Any]
    config: dict[str, Any]
    environment: dict[str, Any]
    history: list[dict[str, Any]]
    parts: list[Part]
    hits: list[tuple[int, float]]
    graph: dict[str, int]
    best: list[QueryExample]
    worst: list[QueryExample]
    hardness: Hardness | None
    relation_effect: RelationEffect | None
    negatives: list[NegativesExample]
    attention: AttentionExample | None
    calibration: dict[str, Any] | None
    analysis: dict[str, Any] | None
    notes: list[str]


@dataclass(frozen=True)
class Pictured:
    """What pictures of a page are drawn with, beside the data.

    Attributes:
        view: pictures as the encoder saw them; regions: where image tokens lie in them.
        analysis: folder of the analysis' pictures.
    """

    view: EncoderView
    regions: Regions | None
    analysis: Path


def run_report(folder: Path) -> tuple[RunReport, Pictured]:
    """Read a finished run and measure what the page shows.

    A graph that is not at hand, or a calibration that cannot be made, leaves a note in place of its part.

    Raises:
        UserError: not a run folder, a run that has not ended, or a damaged file of it.
    """
    run = read_run(folder)
    notes: list[str] = []
    explainer = _explainer(run, notes)
    hardness = relation_effect = attention = quality = None
    negatives: list[NegativesExample] = []
    graph: dict[str, int] = {}
    if explainer is not None:
        dataset = explainer.dataset
        graph = {"entities": len(dataset.entities), "relations": len(dataset.relations)}
        graph |= {f"{split} triples": len(dataset.split(split)) for split in SPLITS}
        hardness = measure_hardness(explainer)
        relation_effect = measure_relation_effect(explainer)
        negatives = negatives_examples(explainer)
        if relation_effect is not None:
            attention = attention_example(explainer, frequent_relations(dataset, _RELATIONS_DRAWN))
        quality = _calibration_quality(explainer, notes)
    report = RunReport(
        name=run.name,
        metrics=run.metrics,
        config=run.config.model_dump(),
        environment=run.environment,
        history=run.history,
        parts=estimates(run.ranks, run.values),
        hits=hits_curve(run.ranks),
        graph=graph,
        best=query_examples(best_queries(run.ranks), explainer),
        worst=query_examples(worst_queries(run.ranks), explainer),
        hardness=hardness,
        relation_effect=relation_effect,
        negatives=negatives,
        attention=attention,
        calibration=quality,
        analysis=read_analysis(run, notes),
        notes=notes,
    )
    features = explainer.features if explainer else None
    view = EncoderView(features.manifest if features else {})
    return report, Pictured(view, explainer.regions if explainer else None, run.folder.path / FOLDER)


def _explainer(run: FinishedRun, notes: list[str]) -> Explainer | None:
    """The run with its graph; None, and a note, where the graph is gone or not the run's."""
    try:
        explainer = Explainer(run.folder.path)
        _ = explainer.sampler
    except UserError as error:
        notes.append(f"No pictures, ranked answers or negatives, and nothing of the sampler: {error}")
        return None
    return explainer


def _calibration_quality(explainer: Explainer, notes: list[str]) -> dict[str, Any] | None:
    """How good the run's probabilities are: kept beside the run, or measured where that takes seconds."""
    trained, dataset = explainer.trained, explainer.dataset
    kept = (trained.run.path / CALIBRATION_FILE).is_file()
    if not kept and len(dataset.entities) * min(MOST_QUESTIONS, 2 * len(dataset.train)) > _MOST_SCORES:
        notes.append(f"No probabilities: this graph is large; mmrns predict {trained.run.path} --all calibrates them")
        return None
    try:
        return calibration(trained, dataset).quality
    except UserError as error:
        notes.append(f"No probabilities: {error}")
        return None


def read_analysis(run: FinishedRun, notes: list[str]) -> dict[str, Any] | None:
    """What `mmrns analyze` left, if it looked at this checkpoint; otherwise None, and a note."""
    path = run.folder.path / FOLDER / "analysis.json"
    again = f"write it again with: mmrns analyze {run.folder.path}"
    if not path.is_file():
        notes.append(f"No maps and no measures of the embeddings: mmrns analyze {run.folder.path} makes them")
        return None
    try:
        found = read_json(path, again)
        if found["step"] != run.folder.saved_step():
            raise UserError(f"{path}: is of step {found['step']}; {again}")
        if not isinstance(found["pictures"], list) or not isinstance(found["spaces"], list):
            raise UserError(f"{path}: is not an analysis; {again}")
    except (KeyError, TypeError):
        notes.append(f"No maps: {path}: is not an analysis; {again}")
    except UserError as error:
        notes.append(f"No maps: {error}")
    else:
        return dict(found)
    return None
