"""What an explanation says, as plain data: text, JSON, figures and pages are made of it."""

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class Shown:
    """An entity as people see it.

    Attributes:
        id, label: its names.
        type: entities.jsonl's, or None.
        pictures: files of the pictures its image tokens are made of, in full; of all it lists where nothing says.
        texts: the texts behind its text tokens, one a token.
    """

    id: str
    label: str
    type: str | None
    pictures: list[str]
    texts: list[str]


@dataclass(frozen=True)
class Negative:
    """A candidate that the sampler may draw.

    Attributes:
        entity: which.
        probability: of being the first draw by likeness when all entities are candidates; masked are the answer and
            train's others, and --guard is applied.
        times_uniform: probability over that of a uniform draw.
        similarity: modality -> cosine with the true answer under the relation; None where either lacks the modality.
        score: the model's score of it as the answer.
        known: the held-out split that lists it as an answer, so that drawing it is a mistake; None otherwise.
    """

    entity: Shown
    probability: float
    times_uniform: float
    similarity: dict[str, float | None]
    score: float
    known: Split | None


@dataclass(frozen=True)
class Sampling:
    """The sampler's distribution for one question.

    Attributes:
        sampler: its name.
        candidates: entities that a uniform sampler may draw: all but the answer and the others that train lists.
        epsilon: exploration temperature at the checkpoint's step.
        entropy: of the draws by likeness, over that of a uniform distribution: 1 is uniform.
        expected_score, uniform_score: mean score of a negative that it draws, those of --uniform-share among them, and
            that a uniform draw gives; the higher, the harder.
        held_out_mass: probability that a draw, of either kind, is another answer, held out.
        negatives: the most probable, in descending order.
    """

    sampler: str
    candidates: int
    epsilon: float
    entropy: float
    expected_score: float
    uniform_score: float
    held_out_mass: float
    negatives: list[Negative]


@dataclass(frozen=True)
class Attention:
    """KCA of one entity in one modality: V tokens attended from K tokens of the other modality (method.md section 3).

    Attributes:
        modality: of the tokens attended to.
        attended_from: modality of the K tokens.
        present: (V,) tokens the entity has; slots (K,) tokens it has to attend from.
        affinity: (K, V) M.
        free: (K, V) softmax_v(M): the attention without the relation; each row sums to 1.
        gate: (K, V) g = sigmoid(FC(r)) of the relation.
        guided: (K, V) g * M over the row's sum of absolute values. The LayerNorm that follows takes a row's scale
            away, so these shares are what reaches the output; they may be negative.
        weight_free, weight_guided, weight_gate: (V,) means over the present slots of `free`, of the absolute values
            of `guided`, and of `gate`. The first two sum to 1. Empty where there is no slot to attend from.
    """

    modality: str
    attended_from: str
    present: list[bool]
    slots: list[bool]
    affinity: list[list[float]]
    free: list[list[float]]
    gate: list[list[float]]
    guided: list[list[float]]
    weight_free: list[float]
    weight_guided: list[float]
    weight_gate: list[float]


@dataclass(frozen=True)
class Answer:
    """An entity's place in the ranking of one question.

    Attributes:
        place: from 1 among all entities, known answers counted too.
        entity: which.
        score: the model's.
        known: the split that lists it as an answer; None: new.
        asked: it is the answer asked about.
    """

    place: int
    entity: Shown
    score: float
    known: Split | None
    asked: bool


@dataclass(frozen=True)
class Side:
    """One question of a triple, and its true answer.

    Attributes:
        asks: "tail" for (head, relation, ?), "head" for (?, relation, tail).
        answer: the entity asked for.
        rank: filtered rank, ties at their mean; optimistic and pessimistic: ties won, and lost.
        candidates: entities ranked.
        above: entities that score higher: "new", and by split those that are known answers.
        ranking: the first places, and the answer asked about at the end if it is not among them.
        sampling: the negatives of this question; None where the run's sampler does not choose by likeness.
        attention: KCA of the answer under the relation, a modality an entry; empty where there is none.
    """

    asks: Literal["tail", "head"]
    answer: Shown
    rank: float
    optimistic: int
    pessimistic: int
    candidates: int
    above: dict[str, int]
    ranking: list[Answer]
    sampling: Sampling | None
    attention: list[Attention]


@dataclass(frozen=True)
class Explanation:
    """Why a triple ranks where it does, and what its negatives were.

    Attributes:
        run, dataset, model, sampler, step: which checkpoint this is about.
        head, relation, relation_label, tail: the triple.
        split: where the triple is known, or None for a new one.
        score: the model's.
        sides: the questions asked.
        notes: what could not be explained, and why.
    """

    run: str
    dataset: str
    model: str
    sampler: str
    step: int
    head: Shown
    relation: str
    relation_label: str
    tail: Shown
    split: Split | None
    score: float
    sides: list[Side]
    notes: list[str]
