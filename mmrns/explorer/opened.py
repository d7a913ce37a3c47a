"""A run that is open for questions: its answers, explanations and ranks, each computed in a fraction of a second."""

import time
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmrns.errors import UserError
from mmrns.evaluation import candidates
from mmrns.evaluation.calibration import Calibrator
from mmrns.evaluation.candidates import propose
from mmrns.evaluation.ranking import rank_triples
from mmrns.explanation import Explainer, Shown
from mmrns.explanation.explainer import Asks
from mmrns.explanation.pictures import EncoderView
from mmrns.explorer.heat import heat_maps, under_relations
from mmrns.explorer.results import Answered, Answers, Question, Why
from mmrns.files import read_object
from mmrns.graph import Dataset
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.graph.dataset import SPLITS, UNUSED, Split
from mmrns.inference.calibration import calibration
from mmrns.inference.questions import Questions, loops_allowed

# What is held out when an answer's probability is computed, by the split that lists it; None: a new one.
_HELD_OUT: dict[Split | None, tuple[str, ...]] = {None: (), "valid": ("valid", UNUSED), "test": ("test",)}
_FITTING = "probabilities are still being fitted; ask again in a moment"


class OpenRun:
    """A run, its graph and its features, read once.

    Attributes:
        name: for people.
        explainer: explains its answers.
        calibrated: None before `calibrate`, then whether that worked.
    """

    def __init__(self, run: str | Path, dataset: Dataset | None = None, name: str | None = None) -> None:
        """Open a run folder.

        Args:
            dataset: its graph, if it is read already.
            name: instead of the folder's.

        Raises:
            UserError: not a run folder, a damaged file, or a graph that is missing or not the one of the run.
        """
        self.explainer = Explainer(run, dataset)
        self.name = name or Path(run).resolve().name
        self.calibrated: bool | None = None
        self._calibrator: Calibrator | None = None
        self._calibration_note = _FITTING
        self._loops = loops_allowed(self.dataset)

    @property
    def dataset(self) -> Dataset:
        """The graph that it was trained on."""
        return self.explainer.dataset

    def calibrate(self, progress: bool = False) -> None:
        """Read the run's calibration, or fit and keep it; where that cannot be, answers have no probabilities."""
        try:
            self._calibrator = calibration(self.explainer.trained, self.dataset, progress=progress).calibrator
            self.calibrated = True
        except UserError as error:
            self._calibration_note = f"no probabilities: {error}"
            self.calibrated = False

    def ask(self, question: Question, k: int = 12, unlisted: bool = False) -> Answers:
        """The k most plausible answers.

        Args:
            unlisted: leave out those that train lists.

        Raises:
            UserError: k below 1, or scores that are NaN.
        """
        if k < 1:
            raise UserError(f"-k {k}: ask for at least 1 answer")
        started = time.perf_counter()
        queries = self._queries(question)
        with torch.inference_mode():
            model = self.explainer.trained.model
            scores = model.score_all(queries.anchor, queries.relation, queries.direction)[0].float()
            if torch.isnan(scores).any():
                raise UserError(f"{self.explainer.trained.run.path}: scores are NaN: the training diverged; train anew")
            order = torch.argsort(scores, descending=True, stable=True).tolist()
        known = self.explainer.known(queries)
        places = enumerate(order, start=1)
        best = list(islice(((p, row) for p, row in places if not (unlisted and known.get(row) == "train")), k))
        probability = self._probabilities(question, k, known)
        answers = [
            Answered(
                place=place,
                row=row,
                entity=self.entity(row),
                score=float(scores[row]),
                known=known.get(row),
                itself=row == question.given and not self._loops[question.relation],
                probability=probability.get(row),
            )
            for place, row in best
        ]
        listed: list[str] = list(known.values())
        return Answers(
            run=self.name,
            question=question,
            given=self.entity(question.given),
            relation=self.dataset.relations.labels[question.relation],
            answers=answers,
            known={split: listed.count(split) for split in SPLITS},
            notes=self._notes(question),
            seconds=time.perf_counter() - started,
        )

    def explain(self, question: Question, answer: int, top: int = 12) -> Why:
        """Why the entity of row `answer` ranks where it does as an answer."""
        started = time.perf_counter()
        ends = (question.given, answer) if question.asks == "tail" else (answer, question.given)
        names = self.dataset.entities.ids
        explanation = self.explainer.explain(
            names[ends[0]], self.dataset.relations.ids[question.relation], names[ends[1]],
            sides=(question.asks,), top=top,
        )  # fmt: skip
        side = explanation.sides[0]
        heat, span = heat_maps(self.explainer, self._view, side.answer, side.attention)
        relations = under_relations(self.explainer, self._view, answer, question.relation) if heat else []
        return Why(self.name, explanation, heat, span, relations, time.perf_counter() - started)

    def ranks(self, question: Question, answers: list[int]) -> list[float]:
        """Filtered rank of each of these rows as an answer of the question, ties at their mean."""
        given, relation = question.given, question.relation
        triples = [(given, relation, row) if question.asks == "tail" else (row, relation, given) for row in answers]
        array = np.array(triples, dtype=np.int64).reshape(-1, 3)
        memory = self.explainer.trained.config.eval_memory_mb
        ranks = rank_triples(self.explainer.trained.model, array, self.dataset.answers(), memory)
        return list(map(float, ranks.rank[ranks.direction == _direction(question)]))

    def known(self, question: Question) -> dict[int, Split]:
        """Known answers of the question by row, with the split that lists them."""
        return self.explainer.known(self._queries(question))

    def entity(self, row: int) -> Shown:
        """An entity as people see it."""
        return self.explainer.entities[row]

    def metrics(self) -> dict[str, Any]:
        """Metrics on test, both directions, of metrics.json; {} where the run has not ended."""
        path = self.explainer.trained.run.metrics_file
        if not path.is_file():
            return {}
        found = read_object(path, "train again or restore the file").get("test", {}).get("both", {})
        return found if isinstance(found, dict) else {}

    @staticmethod
    def _queries(question: Question) -> Queries:
        given = torch.tensor([question.given])
        return Queries(given, torch.tensor([question.relation]), given, _direction(question))

    def _probabilities(self, question: Question, k: int, known: dict[int, Split]) -> dict[int, float]:
        """Row -> probability, of what train does not list among the k first."""
        if self._calibrator is None:
            return {}
        asked = candidates.Question(_direction(question), question.relation, np.array([question.given]))
        loops = bool(self._loops[question.relation])
        splits = (*SPLITS, UNUSED)
        indexes = [self.dataset.answers(*(s for s in splits if s not in left_out)) for left_out in _HELD_OUT.values()]
        proposed = propose(self.explainer.trained.model, asked, indexes, k, self._calibrator.temperature, loops)
        found: dict[int, float] = {}
        for split, part in zip(_HELD_OUT, proposed, strict=True):
            probability = self._calibrator.probability(self._calibrator.log_odds(part))
            rows = part.tail if question.asks == "tail" else part.head
            for row, value in zip(rows.tolist(), probability.tolist(), strict=True):
                if known.get(row) == split:
                    found[row] = value
        return found

    def _notes(self, question: Question) -> list[str]:
        notes = [] if self._calibrator else [self._calibration_note]
        if not self._sensible[_direction(question), question.relation, question.given]:
            given = self.entity(question.given)
            kind = f"no entity of type {given.type}" if given.type else f"{given.label} never"
            side = "head" if question.asks == "tail" else "tail"
            relation = self.dataset.relations.labels[question.relation]
            notes.append(f"in train, {kind} stands as {side} of “{relation}”: the answers can mean little")
        return notes

    def relations(self, asks: Asks, given: int) -> list[int]:
        """Relations worth asking of an entity on this side: those with most facts of it in train first, then by row."""
        column = 0 if asks == "tail" else 2
        train = self.dataset.train
        facts = np.bincount(train[train[:, column] == given, 1], minlength=len(self.dataset.relations))
        number = HEAD if asks == "head" else TAIL
        return [row for row in np.argsort(-facts, kind="stable").tolist() if self._sensible[number, row, given]]

    @cached_property
    def _view(self) -> EncoderView:
        return EncoderView(self.explainer.features.manifest if self.explainer.features else {})

    @cached_property
    def _sensible(self) -> NDArray[np.bool_]:
        """(2, R, E): questions worth asking, by direction, relation and given entity."""
        asked = np.zeros((2, len(self.dataset.relations), len(self.dataset.entities)), dtype=bool)
        for part in Questions(self.dataset, "type"):
            asked[part.direction, part.relation, part.anchors] = True
        return asked


def _direction(question: Question) -> int:
    return TAIL if question.asks == "tail" else HEAD
