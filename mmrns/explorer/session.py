"""What a visitor can do, apart from how it looks: ask one or two runs, see why, compare, look around."""

import threading
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from mmrns.errors import UserError
from mmrns.explanation import Shown
from mmrns.explanation.explainer import Asks
from mmrns.explorer.maps import Method, embedding_map
from mmrns.explorer.opened import OpenRun
from mmrns.explorer.results import Answers, ComparedAnswer, Comparison, EmbeddingMap, Question, Why
from mmrns.explorer.search import NameSearch
from mmrns.graph.dataset import SPLITS
from mmrns.inference import load
from mmrns.inference.ensemble import check_alike
from mmrns.report.thumbnails import thumbnail

_METRICS = ("mrr", "hits@1", "hits@3", "hits@10")
_COMPARED_AT_MOST = 12
# Questions that are looked at to find the first.
_TRIED = 30


class UnknownNameError(UserError):
    """A name that is not in the graph, or that several entities share.

    Attributes:
        near: rows of the entities that may be meant.
    """

    def __init__(self, message: str, near: list[int]) -> None:
        super().__init__(message)
        self.near = near


class Explorer:
    """One or two runs on the same graph, open for questions.

    Attributes:
        runs: the run, and the one that it is compared with.
        dataset: the graph of both.
    """

    def __init__(self, run: Path, compare: Path | None = None, answers: int = 12) -> None:
        """Open the runs.

        Args:
            answers: how many to show.

        Raises:
            UserError: a folder that is no run, a damaged file, a graph that is missing, or runs on different entities
                or with different slices held out.
        """
        first = OpenRun(run)
        self.runs, self._k = [first], answers
        if compare is not None:
            self.runs.append(_second(compare, first))
        self.dataset = first.dataset
        self._degree = self.dataset.answers().counts.new_zeros(len(self.dataset.entities))
        anchors = self.dataset.answers()
        self._degree.index_add_(0, anchors.queries()[:, 0], anchors.counts)
        self.search = NameSearch(self.dataset.entities, self._degree.tolist())
        self._explained = lru_cache(maxsize=256)(lambda question, row, run: self.runs[run].explain(question, row))
        self._maps: dict[tuple[int, Method], EmbeddingMap] = {}

    def entity(self, row: int) -> Shown:
        """An entity as people see it.

        Raises:
            UserError: there is no such row.
        """
        return self.runs[0].entity(self._row(row))

    def picture(self, row: int) -> str | None:
        """The first of an entity's pictures that can be read, small and as a data URI: no file is ever served."""
        return next((uri for file in self.entity(row).pictures if (uri := thumbnail(file)) is not None), None)

    def prepare(self) -> threading.Thread:
        """Fit probabilities and lay out the maps in the background; returns the thread, which nobody need wait for."""
        thread = threading.Thread(target=self._prepare, name="explorer-prepare", daemon=True)
        thread.start()
        return thread

    @property
    def ready(self) -> bool:
        """Whether t-SNE of every run is there."""
        return all((number, "tsne") in self._maps for number in range(len(self.runs)))

    def _prepare(self) -> None:
        for opened in self.runs:
            opened.explain(self.first_question, self.first_question.given)  # what is imported and built for the first
        for opened in self.runs:
            opened.calibrate()
        for number in range(len(self.runs)):
            self._maps[number, "tsne"] = embedding_map(self.runs[number], "tsne")

    def find(self, typed: str) -> int:
        """The entity whose label or id was typed.

        Raises:
            UnknownNameError: there is none, or more than one.
        """
        typed = " ".join(typed.split())
        names = self.dataset.entities
        try:
            return names.find(typed, "entity")
        except UserError:
            same = [row for row, label in enumerate(names.labels) if label.casefold() == typed.casefold()]
        if same:
            raise UnknownNameError(f"{len(same)} entities are called “{typed}”; which one?", same[:8])
        near = self.search(typed, 5) if typed else []
        if near:
            raise UnknownNameError(f"“{typed}” is not in {self.dataset.name}. Did you mean one of these?", near)
        raise UnknownNameError(f"“{typed}” is not in {self.dataset.name}, and nothing is spelled like it", [])

    @cached_property
    def first_question(self) -> Question:
        """A question to start with: among some of valid's, the one whose answers show the most.

        That is held-out answers first, then pictures: of the entity that is given, and of the answers.
        """
        best, found = (-1, -1, -1), Question("tail", 0, 0)
        triples = np.unique(self.dataset.valid, axis=0)
        for head, relation, _ in triples[:: max(1, len(triples) // _TRIED)][:_TRIED].tolist():
            question = Question("tail", head, relation)
            answers = self.runs[0].ask(question, self._k).answers
            shown = [self.picture(answer.row) is not None for answer in answers]
            held_out = any(answer.known in ("valid", "test") for answer in answers)
            worth = (int(held_out), int(self.picture(head) is not None), sum(shown))
            if worth > best:
                best, found = worth, question
        return found

    def question(self, asks: Asks, given: int, relation: int) -> Question:
        """A question; where `relation` makes no sense of the entity, one that does.

        Raises:
            UserError: there is no such row.
        """
        if asks not in ("tail", "head"):
            raise UserError(f"asks {asks!r}: give tail or head")
        fitting = self.runs[0].relations(asks, self._row(given))
        if not 0 <= relation < len(self.dataset.relations):
            raise UserError(f"relation {relation}: there is no such row")
        return Question(asks, given, relation if relation in fitting or not fitting else fitting[0])

    def ask(self, question: Question, unlisted: bool = False) -> list[Answers]:
        """The answers of each run, those that train lists left out if `unlisted`."""
        return [opened.ask(question, self._k, unlisted) for opened in self.runs]

    def explain(self, question: Question, answer: int, run: int = 0) -> Why:
        """An answer explained by one of the runs."""
        return self._explained(question, self._row(answer), self._run(run))

    def compare(self, question: Question, answers: list[Answers]) -> Comparison | None:
        """The runs on one question; None where there is only one."""
        if len(self.runs) < 2:
            return None
        known = self.runs[0].known(question)
        order = sorted(known, key=lambda row: -SPLITS.index(known[row]))
        shown = order[:_COMPARED_AT_MOST]
        ranks = [opened.ranks(question, shown) for opened in self.runs]
        first = [{answer.row for answer in part.answers} for part in answers]
        found = [opened.metrics() for opened in self.runs]
        return Comparison(
            runs=[opened.name for opened in self.runs],
            question=question,
            given=self.entity(question.given),
            relation=self.dataset.relations.labels[question.relation],
            answers=[
                ComparedAnswer(self.entity(row), known[row], [part[place] for part in ranks])
                for place, row in enumerate(shown)
            ],
            left_out=len(order) - len(shown),
            shared=len(set.intersection(*first)),
            of=len(answers[0].answers),
            metrics={name: [part.get(name) for part in found] for name in _METRICS},
        )

    def map(self, method: Method, run: int = 0) -> tuple[EmbeddingMap, bool]:
        """A map, and whether it is the one asked for: until t-SNE is ready, it is the principal components'."""
        wanted = self._maps.get((self._run(run), method))
        if wanted is not None:
            return wanted, True
        key: tuple[int, Method] = (run, "pca")
        if key not in self._maps:
            self._maps[key] = embedding_map(self.runs[run], "pca")
        return self._maps[key], method == "pca"

    def _row(self, row: int) -> int:
        if not 0 <= row < len(self.dataset.entities):
            raise UserError(f"entity {row}: there is no such row")
        return row

    def _run(self, run: int) -> int:
        if not 0 <= run < len(self.runs):
            raise UserError(f"run {run}: there is no such run")
        return run


def _second(run: Path, first: OpenRun) -> OpenRun:
    """The run to compare with."""
    check_alike(first.name, first.explainer.trained, f"--compare {run}", load(run))
    same_name = run.resolve().name == first.name
    return OpenRun(run, first.dataset, name=str(run) if same_name else None)
