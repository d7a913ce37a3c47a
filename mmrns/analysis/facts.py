"""What the graph says about likeness: shared facts, distances, types and parallel pairs."""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from mmrns.graph import Dataset

Rows = NDArray[np.int64]

# Types with fewer entities in a sample are left out: five folds need one each.
LEAST_OF_TYPE = 5
# A row of distances is as long as the graph has entities: bounds the memory.
_SOURCES_AT_ONCE = 10
_TAXONOMIES = re.compile(
    r"_?(is_?a|is_a_kind_of|instance_?of|sub_?class_?of|(instance_)?hypernym|P31|P279)", re.IGNORECASE
)


@dataclass(frozen=True)
class Facts:
    """The graph, all splits, as entities share it. Measures judge vectors by it; nothing is trained on it."""

    dataset: Dataset

    @cached_property
    def triples(self) -> Rows:
        """(N, 3) distinct triples of all splits."""
        return np.unique(np.concatenate([self.dataset.split(s) for s in ("train", "valid", "test")]), axis=0)

    @cached_property
    def types(self) -> list[str | None]:
        """The type of each entity that entities.jsonl gives, by row."""
        return [self.dataset.records.get(name, {}).get("type") for name in self.dataset.entities.ids]

    @cached_property
    def shared(self) -> csr_array:
        """(E, F) 0/1: entity has fact. A fact is (relation, direction, neighbour), or a type."""
        head, relation, tail = self.triples.T
        number, relations = len(self.dataset.entities), len(self.dataset.relations)
        entity = np.concatenate([head, tail])
        fact = np.concatenate([relation * number + tail, (relations + relation) * number + head])
        typed = [(row, name) for row, name in enumerate(self.types) if name is not None]
        names = {name: place for place, name in enumerate(dict.fromkeys(name for _, name in typed))}
        entity = np.concatenate([entity, np.array([row for row, _ in typed], dtype=np.int64)])
        of_types = np.array([names[name] for _, name in typed], dtype=np.int64)
        _, column = np.unique(np.concatenate([fact, 2 * relations * number + of_types]), return_inverse=True)
        return csr_array((np.ones(len(entity)), (entity, column)), shape=(number, int(column.max()) + 1))

    def overlap(self, first: Rows, second: Rows) -> NDArray[np.float64]:
        """Jaccard overlap of the facts of entities first (N,) with second (N,); 0 where neither has any."""
        a, b = self.shared[first], self.shared[second]
        common = np.asarray(a.multiply(b).sum(axis=1)).ravel()
        either = np.asarray(a.sum(axis=1)).ravel() + np.asarray(b.sum(axis=1)).ravel() - common
        return np.divide(common, either, out=np.zeros_like(common), where=either > 0)

    def overlaps(self, first: Rows, second: Rows) -> NDArray[np.float64]:
        """`overlap` of every one of first (N,) with every one of second (M,): (N, M)."""
        a, b = self.shared[first], self.shared[second]
        common = (a @ b.T).toarray()
        either = np.asarray(a.sum(axis=1)).reshape(-1, 1) + np.asarray(b.sum(axis=1)).reshape(1, -1) - common
        return np.divide(common, either, out=np.zeros_like(common), where=either > 0)

    def distances(self, sources: Rows, targets: Rows, relation: int | None = None) -> NDArray[np.float64]:
        """Length of the shortest undirected path from sources (N,) to targets (M,): (N, M); inf where there is none.

        Args:
            relation: walk on its edges only; None walks on all.
        """
        head, kind, tail = self.triples.T
        used = np.ones(len(kind), dtype=bool) if relation is None else kind == relation
        number = len(self.dataset.entities)
        edges = csr_array((np.ones(used.sum()), (head[used], tail[used])), shape=(number, number))
        found = [
            dijkstra(edges, directed=False, unweighted=True, indices=block)[:, targets]
            for block in np.split(sources, range(_SOURCES_AT_ONCE, len(sources), _SOURCES_AT_ONCE))
        ]
        return np.concatenate(found)

    def taxonomy(self, name: str) -> int | None:
        """Row of the relation that is the hierarchy: the one named, else one that is named as such, else None.

        Raises:
            UserError: a name that is no relation.
        """
        relations = self.dataset.relations
        if name:
            return relations.find(name, "--taxonomy")
        found = [row for row, identifier in enumerate(relations.ids) if _TAXONOMIES.fullmatch(identifier)]
        return max(found, key=lambda row: int((self.triples[:, 1] == row).sum()), default=None)

    def typed(self, rows: Rows) -> tuple[Rows, list[str]]:
        """Places in `rows` whose entity has a type that at least LEAST_OF_TYPE of them share, and these types."""
        types = [self.types[row] for row in rows]
        counts = {name: types.count(name) for name in set(types)}
        kept = [(place, name) for place, name in enumerate(types) if name and counts[name] >= LEAST_OF_TYPE]
        return np.array([place for place, _ in kept], dtype=np.int64), [name for _, name in kept]
