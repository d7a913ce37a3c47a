"""Metrics of a split in whole and in parts, and the per-query table behind them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmrns.evaluation.metrics import ranking_metrics
from mmrns.evaluation.ranking import Ranks, rank_triples
from mmrns.evaluation.sample import sampled_triples
from mmrns.features import MODALITIES, FeatureStore
from mmrns.files import file_inside
from mmrns.graph import AnswerIndex, Dataset
from mmrns.graph.answers import HEAD, TAIL
from mmrns.graph.statistics import CATEGORIES, relation_categories
from mmrns.processes import ALONE, Processes
from mmrns.scoring import Ranker


def evaluate_split(
    model: Ranker,
    dataset: Dataset,
    split: str,
    known: AnswerIndex,
    features: FeatureStore | None,
    memory_mb: int,
    sample: int = 0,
    together: Processes = ALONE,
) -> tuple[dict[str, dict[str, Any]], pd.DataFrame]:
    """Rank a split and report it.

    Args:
        sample: rank this many of the split's triples, the same ones at every call; 0, or more than there are: all.
        together: the processes that rank them together (see `rank_triples`); every one gets the result.

    Returns:
        Metrics by part ("both", "head", "tail", the relation categories, "seen"/"unseen", "has-image" and its
        opposites), and a row a query: head, relation, tail (ids) and their labels, direction, rank, optimistic,
        pessimistic, candidates, category, has_image, has_text, seen, and degree, the answer's ends in train.
    """
    ranks = rank_triples(model, sampled_triples(dataset.split(split), sample), known, memory_mb, together=together)
    category = relation_categories(dataset.train, len(dataset.relations))[ranks.triples[:, 1]]
    seen = dataset.seen[ranks.triples[:, 0]] & dataset.seen[ranks.triples[:, 2]]
    ends = np.bincount(dataset.train[:, [0, 2]].ravel(), minlength=len(dataset.entities))
    present = {name: entities_with(dataset, features, name)[ranks.answer] for name in MODALITIES}

    parts: dict[str, NDArray[np.bool_]] = {"head": ranks.direction == HEAD, "tail": ranks.direction == TAIL}
    parts |= {name: category == number for number, name in enumerate(CATEGORIES)}
    parts |= {"seen": seen, "unseen": ~seen}
    for name in MODALITIES:
        parts |= {f"has-{name}": present[name], f"no-{name}": ~present[name]}
    metrics = {"both": ranking_metrics(ranks)} | {name: ranking_metrics(ranks, part) for name, part in parts.items()}
    return metrics, _table(dataset, ranks, category, present, seen, ends[ranks.answer])


def entities_with(dataset: Dataset, features: FeatureStore | None, modality: str) -> NDArray[np.bool_]:
    """(E,) bool: the entity has features of the modality.

    Without a features file: entities.jsonl lists a text, or a picture that is there.
    """
    if features is not None:
        return features.presence(modality).cpu().numpy().astype(bool)
    records = [dataset.records.get(identifier, {}) for identifier in dataset.entities.ids]
    listed = [record.get(f"{modality}s") or [] for record in records]
    if modality == "image":
        listed = [any(_there(dataset.folder, file) for file in files) for files in listed]
    return np.array(list(map(bool, listed)), dtype=bool)


def _there(folder: Path, picture: str) -> bool:
    """Whether a picture that entities.jsonl lists is a file of the dataset."""
    try:
        file_inside(folder, picture)
    except ValueError:
        return False
    return True


def _table(
    dataset: Dataset,
    ranks: Ranks,
    category: NDArray[np.int64],
    present: dict[str, NDArray[np.bool_]],
    seen: NDArray[np.bool_],
    degree: NDArray[np.int64],
) -> pd.DataFrame:
    entities, relations = np.array(dataset.entities.ids, dtype=object), np.array(dataset.relations.ids, dtype=object)
    entity_labels = np.array(dataset.entities.labels, dtype=object)
    head, relation, tail = ranks.triples.T
    return pd.DataFrame(
        {
            "head": entities[head],
            "relation": relations[relation],
            "tail": entities[tail],
            "head_label": entity_labels[head],
            "relation_label": np.array(dataset.relations.labels, dtype=object)[relation],
            "tail_label": entity_labels[tail],
            "direction": np.where(ranks.direction == HEAD, "head", "tail"),
            "rank": ranks.rank,
            "optimistic": ranks.optimistic,
            "pessimistic": ranks.pessimistic,
            "candidates": ranks.candidates,
            "category": np.array(CATEGORIES, dtype=object)[category],
            **{f"has_{name}": values for name, values in present.items()},
            "seen": seen,
            "degree": degree,
        }
    )
