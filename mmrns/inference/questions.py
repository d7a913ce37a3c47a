"""Which questions are worth asking of a graph."""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmrns.evaluation.candidates import Question
from mmrns.graph import Dataset
from mmrns.graph.answers import HEAD, TAIL
from mmrns.inference.answerer import Answerer

Ask = Literal["type", "seen", "all"]

# Bytes a score takes while the best are found (itself, its copies and comparisons), and bytes of an answer found.
_SCORE_BYTES, _ANSWER_BYTES = 24, 200
_MOST_AT_ONCE = 1024


class Questions:
    """Every question worth asking, one relation and direction after the other; made anew at each iteration.

    - seen: of the entities that train shows on this side of the relation.
    - type: of those whose type (entities.jsonl) train shows on this side; untyped ones as `seen`. A country whose
      currency is missing altogether is asked for it.
    - all: of every entity, as long as train has the relation.
    """

    def __init__(self, dataset: Dataset, ask: Ask, relation: int | None = None) -> None:
        """Of one relation, or of all of them."""
        self._entities = len(dataset.entities)
        self._ask = ask
        self._relations = range(len(dataset.relations)) if relation is None else [relation]
        self._triples = dataset.train[np.argsort(dataset.train[:, 1], kind="stable")]
        names = [str(dataset.records.get(e, {}).get("type") or "") for e in dataset.entities.ids]
        kinds, self._types = np.unique(np.array(names, dtype=object), return_inverse=True)
        self._typed = (kinds != "")[self._types]

    def __iter__(self) -> Iterator[Question]:
        for relation in self._relations:
            start, end = np.searchsorted(self._triples[:, 1], [relation, relation + 1])
            for direction, column in ((TAIL, 0), (HEAD, 2)):
                anchors = self._anchors(self._triples[start:end, column])
                if len(anchors):
                    yield Question(direction, relation, anchors)

    def _anchors(self, shown: NDArray[np.int64]) -> NDArray[np.int64]:
        asked = np.zeros(self._entities, dtype=bool)
        asked[shown] = True
        if self._ask == "type":
            asked |= np.isin(self._types, self._types[asked & self._typed]) & self._typed
        elif self._ask == "all" and len(shown):
            asked[:] = True
        return np.flatnonzero(asked)

    @cached_property
    def number(self) -> int:
        """How many questions there are."""
        return sum(len(part.anchors) for part in self)

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of the questions and their order."""
        digest = hashlib.sha256()
        for part in self:
            digest.update(f"{part.direction} {part.relation} {len(part.anchors)}\n".encode())
            digest.update(part.anchors.tobytes())
        return digest.hexdigest()

    def sample(self, most: int) -> Iterator[Question]:
        """At most `most` of the questions, every one equally likely, always the same."""
        if self.number <= most:
            yield from self
            return
        chosen = np.sort(np.random.default_rng(0).choice(self.number, most, replace=False))
        start = 0
        for part in self:
            first, last = np.searchsorted(chosen, [start, start + len(part.anchors)])
            if last > first:
                yield Question(part.direction, part.relation, part.anchors[chosen[first:last] - start])
            start += len(part.anchors)


def loops_allowed(dataset: Dataset) -> NDArray[np.bool_]:
    """(R,) relations of which train has a fact between an entity and itself."""
    found = np.zeros(len(dataset.relations), dtype=bool)
    found[dataset.train[dataset.train[:, 0] == dataset.train[:, 2]][:, 1]] = True
    return found


def block_size(trained: Answerer, k: int) -> int:
    """Questions answered at once, k answers each, within the run's --eval-memory-mb."""
    entities = len(trained.entities)
    room = trained.config.eval_memory_mb * 2**20
    return int(np.clip(room // (_SCORE_BYTES * entities + _ANSWER_BYTES * min(k, entities)), 1, _MOST_AT_ONCE))
