"""What of a run is worth looking at: its best and worst queries, the negatives it draws, an answer under relations."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from mmrns.explanation import Explainer, Negative, Shown
from mmrns.explanation.result import Answer
from mmrns.explanation.sampling import distribution
from mmrns.graph import Dataset
from mmrns.graph.answers import HEAD, TAIL, Queries

_SHOWN, _TOP, _OF_ONE_RELATION = 6, 3, 2
_TRIED, _NEGATIVES = 16, 5
_MOST_ENTITIES = 32


@dataclass(frozen=True)
class QueryExample:
    """A test query.

    Attributes:
        head, relation, tail: the triple, the relation by label; asks: which end is asked for.
        rank, candidates: filtered rank of the answer, and among how many.
        ranking: the first answers that the rank counts, those that no split lists and the asked one; empty where the
            graph is not at hand.
    """

    head: Shown
    relation: str
    tail: Shown
    asks: Literal["head", "tail"]
    rank: float
    candidates: int
    ranking: list[Answer]


@dataclass(frozen=True)
class Drawn:
    """A uniform draw: the entity, and the model's score of it as the answer."""

    entity: Shown
    score: float


@dataclass(frozen=True)
class NegativesExample:
    """A question of train, and what may be drawn for it.

    Attributes:
        head, relation: the question (head, relation, ?); answer: its true answer, and the model's score of it.
        negatives: the sampler's likeliest; uniform: as many uniform draws.
        entropy: of the sampler's distribution over that of a uniform one.
    """

    head: Shown
    relation: str
    answer: Shown
    answer_score: float
    negatives: list[Negative]
    uniform: list[Drawn]
    entropy: float


@dataclass(frozen=True)
class AttentionExample:
    """Attention on an entity's picture without a relation, and under some: shares of its image tokens that sum to 1."""

    entity: Shown
    without: list[float]
    under: dict[str, list[float]]


def frequent_relations(dataset: Dataset, number: int) -> list[int]:
    """Rows of the relations that are most frequent in train."""
    frequency = np.bincount(dataset.train[:, 1], minlength=len(dataset.relations))
    return np.argsort(-frequency, kind="stable")[: min(number, int((frequency > 0).sum()))].tolist()


def best_queries(ranks: pd.DataFrame) -> pd.DataFrame:
    """Queries answered at rank 1, those first whose answer train says least of."""
    right = ranks[ranks["rank"] == 1].sort_values("degree", kind="stable")
    return _varied(right)


def worst_queries(ranks: pd.DataFrame) -> pd.DataFrame:
    """Queries of the largest ranks."""
    return _varied(ranks[ranks["rank"] > 1].sort_values("rank", ascending=False, kind="stable"))


def _varied(ordered: pd.DataFrame) -> pd.DataFrame:
    """The first few, no more than two of a relation, and each answer once."""
    answer = np.where(ordered["direction"] == "head", ordered["head"], ordered["tail"])
    once = ordered[~pd.Series(answer, index=ordered.index).duplicated()]
    return once[once.groupby("relation").cumcount() < _OF_ONE_RELATION].head(_SHOWN)


def query_examples(chosen: pd.DataFrame, explainer: Explainer | None) -> list[QueryExample]:
    """Rows of ranks.parquet as people see them; without an explainer, by label alone."""
    found = []
    for row in chosen.to_dict("records"):
        ends = [Shown(str(row[end]), str(row[f"{end}_label"]), None, [], []) for end in ("head", "tail")]
        ranking: list[Answer] = []
        asks: Literal["head", "tail"] = "head" if row["direction"] == "head" else "tail"
        if explainer is not None:
            explanation = explainer.explain(
                row["head"], row["relation"], row["tail"], sides=(asks,), top=_TOP + _known_answers(explainer, row)
            )
            ends = [explanation.head, explanation.tail]
            ranking = [a for a in explanation.sides[0].ranking if a.asked or a.known is None][:_TOP]
        found.append(
            QueryExample(ends[0], row["relation_label"], ends[1], asks, row["rank"], int(row["candidates"]), ranking)
        )
    return found


def _known_answers(explainer: Explainer, row: dict[Hashable, Any]) -> int:
    names = explainer.trained.entities.row, explainer.trained.relations.row
    triple = torch.tensor([[names[0][row["head"]], names[1][row["relation"]], names[0][row["tail"]]]])
    return len(explainer.known(Queries.of(triple, HEAD if row["direction"] == "head" else TAIL)))


def negatives_examples(explainer: Explainer, seed: int = 0) -> list[NegativesExample]:
    """For each of the most frequent relations, of some questions with a picture the one that the sampler is surest of.

    Empty where the run's sampler does not choose by likeness.
    """
    sampler, trained, dataset = explainer.sampler, explainer.trained, explainer.dataset
    if sampler is None:
        return []
    rng = np.random.default_rng(seed)
    names = dataset.entities.ids
    pictured = np.array([bool(dataset.records.get(name, {}).get("images")) for name in names])
    tried = []
    for relation in frequent_relations(dataset, _SHOWN):
        triples = dataset.train[dataset.train[:, 1] == relation]
        shown = triples[pictured[triples[:, 2]]]
        tried.append(rng.permutation(shown if len(shown) else triples)[:_TRIED])
    triples = torch.from_numpy(np.concatenate(tried))
    queries = Queries.of(triples, TAIL)
    with torch.inference_mode():
        surest = distribution(sampler, trained.model, queries, trained.step).likely.max(1).values.numpy()
    found = []
    for part in np.split(np.arange(len(triples)), np.cumsum([len(rows) for rows in tried])[:-1]):
        if len(part):
            head, relation, tail = triples[part[np.argmax(surest[part])]].tolist()
            found.append(_negatives_example(explainer, head, relation, tail, rng))
    return found


def _negatives_example(
    explainer: Explainer, head: int, relation: int, tail: int, rng: np.random.Generator
) -> NegativesExample:
    names = explainer.dataset.entities.ids
    explanation = explainer.explain(
        names[head], explainer.dataset.relations.ids[relation], names[tail], sides=("tail",), top=_NEGATIVES
    )
    queries = Queries.of(torch.tensor([[head, relation, tail]]), TAIL)
    known = explainer.dataset.answers("train")
    answers = known.pairs(known.rows(queries))[1].numpy()
    drawn = rng.permutation(np.setdiff1d(np.arange(len(names)), answers))[:_NEGATIVES]
    with torch.inference_mode():
        scores = explainer.trained.model.score_all(queries.anchor, queries.relation, TAIL)[0].float()
    sampling = explanation.sides[0].sampling
    assert sampling is not None
    return NegativesExample(
        head=explanation.head,
        relation=explanation.relation_label,
        answer=explanation.tail,
        answer_score=float(scores[tail]),
        negatives=sampling.negatives,
        uniform=[Drawn(explainer.entities[row], float(scores[row])) for row in drawn],
        entropy=sampling.entropy,
    )


def attention_example(explainer: Explainer, relations: Sequence[int], seed: int = 0) -> AttentionExample | None:
    """Of some entities with a picture, the one whose attention moves most between the relations (rows).

    None without attention on pictures, or without a picture.
    """
    dataset, features = explainer.dataset, explainer.features
    best: tuple[float, AttentionExample | None] = (-1.0, None)
    if explainer.sampler is None or features is None or "image" not in features.modalities:
        return None
    has = np.all([features.presence(name).cpu().numpy() for name in features.modalities], axis=0)
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(has))[:_MOST_ENTITIES]
    for row in rows:
        shown = explainer.entities[int(row)]
        if not shown.pictures:
            continue
        under, without = {}, []
        for relation in relations:
            for attended in explainer.attention(int(row), int(relation)):
                if attended.modality == "image" and attended.weight_guided:
                    under[dataset.relations.labels[relation]], without = attended.weight_guided, attended.weight_free
        weights = np.array(list(under.values()))
        moved = float(np.ptp(weights, axis=0).sum()) if len(under) > 1 else -1.0
        if moved > best[0]:
            best = moved, AttentionExample(shown, without, under)
    return best[1]
