"""What an analysis says, as plain data: text, JSON, figures and pages are made of it (schema: docs/analysis.md)."""

from dataclasses import dataclass, field
from typing import Any, Literal

FORMAT = "mmrns-analysis-1"
FOLDER = "analysis"
"""Of a run folder: where analysis.json, maps.json and the pictures lie."""

Better = Literal["higher", "lower"]


def _option(default: Any, least: int | None, text: str) -> Any:
    return field(default=default, metadata={"least": least, "help": text})


@dataclass(frozen=True)
class Options:
    """How much is looked at; equal options give equal numbers. Each field is a flag of mmrns analyze."""

    sample: int = _option(2000, 10, "vectors of each space that are looked at, at most")
    pairs: int = _option(2000, 10, "pairs, questions or groups of each measure that draws some, at most")
    map_points: int = _option(1000, 0, "points of each map, at most; 0 makes no maps")
    seed: int = _option(0, 0, "seed of every draw")
    taxonomy: str = _option(
        "", None, "relation whose paths are the hierarchy; by default the one named is_a, hypernym, subclass_of, ..."
    )


@dataclass(frozen=True)
class Measure:
    """One figure with what is needed to judge it.

    Attributes:
        name: key of the measure (docs/analysis.md has each one's formula); title: for people.
        value: the figure; None where it is not defined.
        random: the same computation on independent normal vectors of the same shape; None where there is none.
        count: how many vectors, pairs or questions it is made of.
        better: which way is better.
        concern: it is no better than random, or beyond the limit that docs/analysis.md gives.
        reading: what this value means, one line.
        remedy: what usually helps; "" without a concern.
    """

    name: str
    title: str
    value: float | None
    random: float | None
    count: int
    better: Better
    concern: bool
    reading: str
    remedy: str


@dataclass(frozen=True)
class SpaceQuality:
    """The quality of one set of vectors.

    Attributes:
        name: "entities", "relations", "image", "text", "kca-image", "kca-text" or "kca-structure".
        title: for people.
        vectors: how many there are; sampled: how many were looked at; width: of one.
        measures: those that apply, in the order of docs/analysis.md.
        spectrum: singular values over their sum, descending, the first 256; random_spectrum: of random vectors.
    """

    name: str
    title: str
    vectors: int
    sampled: int
    width: int
    measures: list[Measure]
    spectrum: list[float]
    random_spectrum: list[float]

    def __getitem__(self, name: str) -> Measure:
        """The measure of this name; KeyError where it does not apply."""
        return {measure.name: measure for measure in self.measures}[name]


@dataclass(frozen=True)
class Retrieval:
    """Finding an entity's vector in one space from its vector in another, by a linear map fitted on other entities.

    Attributes:
        source, target: names of the spaces.
        candidates: entities that are ranked for each question.
        measures: retrieval_mrr and retrieval_ndcg.
    """

    source: str
    target: str
    candidates: int
    measures: list[Measure]


@dataclass(frozen=True)
class Hardness:
    """How hard the negatives of the run's sampler are for its model, over a sample of train's questions.

    Attributes:
        questions: how many.
        expected_score, uniform_score: mean score of a negative that the sampler draws, and that a uniform draw gives.
        harder: share of the questions for which the first is the larger.
        entropy: mean entropy of the distribution over that of a uniform one: 1 is uniform.
        held_out_mass, uniform_held_out_mass: mean probability that a draw is an answer in valid or test.
        reading: what this means, one line.
    """

    questions: int
    expected_score: float
    uniform_score: float
    harder: float
    entropy: float
    held_out_mass: float
    uniform_held_out_mass: float
    reading: str


@dataclass(frozen=True)
class Moment:
    """Alignment and uniformity of the entity embeddings at one validation of the training."""

    step: int
    alignment: float
    uniformity: float


@dataclass(frozen=True)
class Picture:
    """A file beside analysis.json, with a title and what it shows in words."""

    file: str
    title: str
    alt: str


@dataclass(frozen=True)
class Map:
    """Points of a space in the plane.

    Attributes:
        space: its name.
        rows: entity rows of the points.
        methods: "pca", "tsne" and, where umap-learn is installed, "umap" -> (x, y) a point.
    """

    space: str
    rows: list[int]
    methods: dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Analysis:
    """The embedding quality of a run.

    Attributes:
        run, dataset, model, sampler, seed, step: which checkpoint this is about; seed is the run's.
        options: of the analysis.
        spaces: those that the run has.
        retrieval: a pair of spaces and direction each.
        hardness: None where the sampler does not choose by likeness.
        history: over training, in the order of steps; empty where the run did not record it.
        notes: what could not be measured, and why.
        pictures: files that were drawn.
        maps: kept in maps.json, not in analysis.json.
    """

    run: str
    dataset: str
    model: str
    sampler: str
    seed: int
    step: int
    options: Options
    spaces: list[SpaceQuality]
    retrieval: list[Retrieval]
    hardness: Hardness | None
    history: list[Moment]
    notes: list[str]
    pictures: list[Picture] = field(default_factory=list)
    maps: list[Map] = field(default_factory=list)
    format: str = FORMAT

    def space(self, name: str) -> SpaceQuality | None:
        """The space of this name, or None where the run has none."""
        return next((space for space in self.spaces if space.name == name), None)
