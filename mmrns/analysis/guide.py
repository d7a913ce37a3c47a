"""What each measure is called, when it is a concern, what that means, and what usually helps."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from mmrns.analysis.result import Better, Measure

# Of the value and that of random vectors.
Limit = Callable[[float, float], bool]


def _no_better_by(margin: float) -> Limit:
    """Higher is better, and it is not above random by the margin."""
    return lambda value, random: value < random + margin


def _not_twice() -> Limit:
    """Higher is better, and it is not twice that of random."""
    return lambda value, random: value < 2 * random or value <= 0


def _above(limit: float) -> Limit:
    return lambda value, _: value > limit


@dataclass(frozen=True)
class Guide:
    """How to read one measure.

    Attributes:
        title: for people.
        better: which way is better.
        concern: whether a value beside that of random vectors is one.
        limit: the same in words.
        fine, poor: what a value without and with a concern means.
        remedy: what usually helps.
    """

    title: str
    better: Better
    concern: Limit
    limit: str
    fine: str
    poor: str
    remedy: str


_MORE_TRAINING = "train longer, check that valid MRR still rises, or try another --dim or --learning-rate"
_SPREAD = "more or harder negatives, less --regularization, a larger --gamma, or a smaller --initial-range"
_FEATURES = "another encoder (mmrns extract --image-encoder, --text-encoder), or finer pooling"
_OBJECTIVE = "train longer where the scoring function is a translation (TransE); others do not ask for offsets"

GUIDES: dict[str, Guide] = {
    "alignment": Guide(
        "Alignment", "lower", lambda value, random: value > 0.95 * random, "above 0.95 of random",
        "answers of one query lie nearer to one another than unrelated directions do",
        "answers of one query point in unrelated directions", _MORE_TRAINING,
    ),
    "alignment_contrast": Guide(
        "Alignment against any two", "lower", _above(0.95), "above 0.95",
        "answers of one query lie nearer to one another than any two vectors of the space do",
        "answers of one query lie no nearer than any two vectors do: low alignment alone is a small space",
        _MORE_TRAINING,
    ),
    "uniformity": Guide(
        "Uniformity", "lower", lambda value, random: value > random / 2, "above half of random (log scale)",
        "the vectors spread over the sphere",
        "the vectors crowd in a part of the sphere", _SPREAD,
    ),
    "effective_rank": Guide(
        "Effective rank", "higher", lambda value, random: value < random / 4, "below a quarter of random",
        "the vectors use many directions",
        "the vectors use few of the directions they have", f"a smaller --dim costs nothing here; or {_SPREAD}",
    ),
    "top_share": Guide(
        "Share of the first direction", "lower", _above(0.5), "above 0.5",
        "no one direction dominates",
        "most of the vectors' length is one direction that they share", f"subtract the mean vector; or {_SPREAD}",
    ),
    "mean_cosine": Guide(
        "Mean cosine of any two", "lower", _above(0.5), "above 0.5",
        "two vectors have little in common by default",
        "any two vectors are alike, so likeness says little", f"subtract the mean vector; or {_SPREAD}",
    ),
    "dead_dimensions": Guide(
        "Dead dimensions", "lower", _above(0.05), "above 0.05",
        "every dimension varies",
        "some dimensions hold nothing", "a smaller --dim, a lower --learning-rate, or less --regularization",
    ),
    "hubness": Guide(
        "Hubness", "lower", lambda value, random: value > max(2.0, 2 * random), "above 2 and twice random",
        "no vector is everyone's neighbour",
        "a few hubs are everyone's neighbours and stand in many answers",
        "centre the vectors, a smaller --dim, or cosines scaled by local neighbourhoods (CSLS)",
    ),
    "relatedness": Guide(
        "Relatedness: graph paths", "higher", _no_better_by(0.1), "less than 0.1 above random",
        "near in the graph means near in the space",
        "nearness in the space says little about paths in the graph", _MORE_TRAINING,
    ),
    "relatedness_taxonomy": Guide(
        "Relatedness: paths of the hierarchy", "higher", _no_better_by(0.1), "less than 0.1 above random",
        "near in the hierarchy means near in the space",
        "nearness in the space says little about the hierarchy", _MORE_TRAINING,
    ),
    "analogy_accuracy": Guide(
        "Analogy, first answer", "higher", _not_twice(), "less than twice random",
        "one relation is one offset, for part of the pairs",
        "a relation is no offset of this space (only translations make it one)", _OBJECTIVE,
    ),
    "analogy_mrr": Guide(
        "Analogy, MRR", "higher", _not_twice(), "less than twice random",
        "an offset leads near the answer, for part of the pairs",
        "offsets do not lead to answers (only translations make them)", _OBJECTIVE,
    ),
    "coherence": Guide(
        "Coherence (intruder found)", "higher", _no_better_by(0.1), "less than 0.1 above random",
        "neighbours share facts that the entity of rank 100 does not",
        "neighbours share no more facts than the entity of rank 100", _MORE_TRAINING,
    ),
    "cluster_purity": Guide(
        "Clusters: purity by type", "higher", _no_better_by(0.05), "less than 0.05 above random",
        "clusters lean to one type each",
        "clusters mix the types", _MORE_TRAINING,
    ),
    "cluster_rand": Guide(
        "Clusters: adjusted Rand index", "higher", _no_better_by(0.05), "less than 0.05 above random",
        "clusters follow the types",
        "clusters do not follow the types", _MORE_TRAINING,
    ),
    "type_silhouette": Guide(
        "Silhouette of types", "higher", _no_better_by(0.02), "less than 0.02 above random",
        "types lie apart",
        "types overlap", _MORE_TRAINING,
    ),
    "probe_accuracy": Guide(
        "Probe of the type: accuracy", "higher", _no_better_by(0.05), "less than 0.05 above random",
        "the type can be read off by a linear map",
        "the type cannot be read off by a linear map", _MORE_TRAINING,
    ),
    "probe_balanced_accuracy": Guide(
        "Probe of the type: balanced accuracy", "higher", _no_better_by(0.05), "less than 0.05 above random",
        "rare types can be read off too",
        "only the frequent types can be read off, if any", _MORE_TRAINING,
    ),
    "relation_effect": Guide(
        "Effect of the relation", "higher", lambda value, _: value < 0.05, "below 0.05",
        "an entity's vector depends on the relation",
        "an entity's vector is all but the same under every relation",
        "more steps for the sampler, a larger --sampler-learning-rate or --contrastive-weight",
    ),
    "attention_shift": Guide(
        "Shift of the attention", "higher", lambda value, _: value < 0.05, "below 0.05",
        "relations look at different tokens of an entity",
        "all relations look at the same tokens of an entity",
        "more steps for the sampler, a larger --sampler-learning-rate or --contrastive-weight",
    ),
    "retrieval_mrr": Guide(
        "Retrieval, MRR", "higher", _not_twice(), "less than twice random",
        "one modality tells which of the other belongs to it, for part of the entities",
        "one modality does not tell which of the other belongs to it", _FEATURES,
    ),
    "retrieval_ndcg": Guide(
        "Retrieval, nDCG of the first ten", "higher", _not_twice(), "less than twice random",
        "what is found shares facts with what was asked for",
        "what is found shares no more facts than chance", _FEATURES,
    ),
}  # fmt: skip


def measure(name: str, value: float | None, random: float | None, count: int) -> Measure:
    """A figure with its reading."""
    guide = GUIDES[name]
    value, random = (None if x is None or not math.isfinite(x) else float(x) for x in (value, random))
    if value is None:
        return Measure(name, guide.title, None, random, count, guide.better, False, "not defined here", "")
    concern = guide.concern(value, random if random is not None else 0.0)
    reading, remedy = (guide.poor, guide.remedy) if concern else (guide.fine, "")
    return Measure(name, guide.title, value, random, count, guide.better, concern, reading, remedy)
