"""Which questions are worth asking of a graph."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmrns.evaluation.candidates import Question
from mmrns.graph import Dataset
from mmrns.graph.answers import HEAD, TAIL
from mmrns.inference.trained import TrainedModel

Ask = Literal["seen", "type", "all"]
ASKS: tuple[Ask, ...] = ("type", "seen", "all")

# Bytes a score takes while the best are found: itself, its copies and comparisons.
_BYTES = 24


def questions(dataset: Dataset, ask: Ask) -> list[Question]:
    """What to ask: for each relation and direction, the entities it makes sense to ask of.

    - seen: entities that train shows on this side of the relation.
    - type: entities of a type (entities.jsonl) that train shows on this side; untyped ones as `seen`. A country whose
      currency is missing altogether is asked for it.
    - all: every entity, as long as train has the relation.
    """
    number = len(dataset.entities)
    names = np.array([str(dataset.records.get(e, {}).get("type") or "") for e in dataset.entities.ids], dtype=object)
    _, types = np.unique(names, return_inverse=True)
    untyped = names == ""
    found = []
    for relation in range(len(dataset.relations)):
        triples = dataset.train[dataset.train[:, 1] == relation]
        for direction, column in ((TAIL, 0), (HEAD, 2)):
            seen = np.zeros(number, dtype=bool)
            seen[triples[:, column]] = True
            asked = seen.copy()
            if ask == "type":
                asked |= np.isin(types, np.unique(types[seen & ~untyped])) & ~untyped
            elif ask == "all" and len(triples):
                asked[:] = True
            if asked.any():
                found.append(Question(direction, relation, np.flatnonzero(asked)))
    return found


def loops_allowed(dataset: Dataset) -> NDArray[np.bool_]:
    """(R,) relations of which train has a fact between an entity and itself."""
    found = np.zeros(len(dataset.relations), dtype=bool)
    found[dataset.train[dataset.train[:, 0] == dataset.train[:, 2]][:, 1]] = True
    return found


def block_size(trained: TrainedModel, dataset: Dataset) -> int:
    """Questions scored at once within the run's --eval-memory-mb."""
    room = trained.config.eval_memory_mb * 2**20
    return int(np.clip(room // (_BYTES * len(dataset.entities)), 1, 1024))
