"""What the explorer shows, as plain data; the page is made of it."""

from dataclasses import dataclass
from typing import Literal

from mmrns.explanation import Explanation, Shown
from mmrns.explanation.explainer import Asks
from mmrns.graph.dataset import Split

Mark = Literal["new", "itself", "train", "valid", "test"]


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        asks: "tail" for (given, relation, ?), "head" for (?, relation, given).
        given: the entity's row.
        relation: its row.
    """

    asks: Asks
    given: int
    relation: int


@dataclass(frozen=True)
class Answered:
    """One answer.

    Attributes:
        place: from 1 among all entities, known answers counted too.
        row, entity: which.
        score: the model's.
        known: the split that lists it; None: new.
        itself: it is the entity that is given, and train has no fact of this relation between an entity and itself.
        probability: calibrated, that a fact like this is true: of a new one as `mmrns predict --all` gives it, of a
            held-out one as if its split were not known; None for train's, for `itself`, and without a calibration.
    """

    place: int
    row: int
    entity: Shown
    score: float
    known: Split | None
    itself: bool
    probability: float | None

    @property
    def mark(self) -> Mark:
        """How it is marked: "new", "itself", or the split that lists it."""
        return self.known or ("itself" if self.itself else "new")


@dataclass(frozen=True)
class Answers:
    """The first answers of one run to one question.

    Attributes:
        run: name of the run.
        question: what was asked.
        given: the entity that is given.
        relation: label of the relation.
        answers: best first.
        known: split -> answers that it lists.
        notes: what to keep in mind when reading them.
        seconds: from question to answers.
    """

    run: str
    question: Question
    given: Shown
    relation: str
    answers: list[Answered]
    known: dict[str, int]
    notes: list[str]
    seconds: float


@dataclass(frozen=True)
class HeatMap:
    """Attention over one picture, as data URIs.

    Attributes:
        picture: as the encoder saw it.
        free, guided: under the attention without the relation, and with it.
    """

    picture: str
    free: str
    guided: str


@dataclass(frozen=True)
class RelationHeat:
    """Attention over the first picture under one relation: its label, the heat map, and whether it is the one asked."""

    relation: str
    guided: str
    asked: bool


@dataclass(frozen=True)
class Why:
    """One answer explained by one run.

    Attributes:
        run: name of the run.
        explanation: with one side, the question asked.
        heat: a map for each picture of the answer; empty where there is none, or where nobody knows where its tokens
            lie.
        span: distance from even attention, in multiples of it, that has the full colour.
        relations: the first picture under the relations that train shows the answer in, with the one asked first.
        seconds: from question to explanation.
    """

    run: str
    explanation: Explanation
    heat: list[HeatMap]
    span: float
    relations: list[RelationHeat]
    seconds: float


@dataclass(frozen=True)
class ComparedAnswer:
    """A known answer and its filtered rank in each run."""

    entity: Shown
    split: Split
    ranks: list[float]


@dataclass(frozen=True)
class Comparison:
    """Two runs on one question, and overall.

    Attributes:
        runs: their names.
        question: what was asked; given and relation as people see them.
        answers: known answers of the question, held-out ones first.
        left_out: known answers beyond those.
        shared: entities among the first answers of both runs; of: how many first answers were compared.
        metrics: metric -> its value on test in each run; None where a run has not ended.
    """

    runs: list[str]
    question: Question
    given: Shown
    relation: str
    answers: list[ComparedAnswer]
    left_out: int
    shared: int
    of: int
    metrics: dict[str, list[float | None]]


@dataclass(frozen=True)
class EmbeddingMap:
    """Entity vectors in the plane.

    Attributes:
        run: name of the run.
        method: "pca" or "tsne".
        rows: entity rows of the points.
        x, y: coordinates in [0, 1].
        left_out: entities that are not on it.
    """

    run: str
    method: Literal["pca", "tsne"]
    rows: list[int]
    x: list[float]
    y: list[float]
    left_out: int
