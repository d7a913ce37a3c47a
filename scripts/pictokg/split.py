"""Split triples into train, valid and test.

All triples between one unordered pair of entities stay together, so that a symmetric or inverse triple of a held-out
one is never in another split. Every entity and relation that is held out keeps enough triples in train.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from pictokg.graph import Triple

HELD_OUT = 0.2
"""Share of the triples in valid and test together."""

MAX_RELATION_HELD_OUT = 0.25
"""No relation gives more than this share of its triples."""

MIN_TRAIN_DEGREE = 2
"""Every entity keeps at least this many triples in train."""

SEED = "pictokg 1"


@dataclass(frozen=True)
class Split:
    """Sorted triples of the three files."""

    train: list[Triple]
    valid: list[Triple]
    test: list[Triple]

    def items(self) -> list[tuple[str, list[Triple]]]:
        """(file stem, triples) in the usual order."""
        return [("train", self.train), ("valid", self.valid), ("test", self.test)]


def split_triples(triples: Iterable[Triple], held_out: float = HELD_OUT, seed: str = SEED) -> Split:
    """Hold out pairs in the order of a hash of their names and the seed, each relation by turns to valid and test."""
    groups = group_by_pair(triples)
    everything = [triple for group in groups for triple in group]
    wanted = held_out * len(everything)
    degree = Counter(id for head, _, tail in everything for id in (head, tail))
    relation_left = Counter(relation for _, relation, _ in everything)
    relation_least = {name: (1 - MAX_RELATION_HELD_OUT) * count for name, count in relation_left.items()}

    train: list[Triple] = []
    valid: list[Triple] = []
    test: list[Triple] = []
    more_in_valid: Counter[str] = Counter()
    for group in sorted(groups, key=lambda group: _hash_order(group, seed)):
        ends = Counter(id for head, _, tail in group for id in (head, tail))
        relations = Counter(relation for _, relation, _ in group)
        affordable = all(degree[id] - count >= MIN_TRAIN_DEGREE for id, count in ends.items()) and all(
            relation_left[name] - count >= relation_least[name] for name, count in relations.items()
        )
        if affordable and len(valid) + len(test) + len(group) <= wanted:
            relation = group[0][1]
            to_valid = (more_in_valid[relation], len(valid)) <= (0, len(test))
            (valid if to_valid else test).extend(group)
            more_in_valid[relation] += 1 if to_valid else -1
            degree.subtract(ends)
            relation_left.subtract(relations)
        else:
            train.extend(group)
    return Split(sorted(train), sorted(valid), sorted(test))


def group_by_pair(triples: Iterable[Triple]) -> list[list[Triple]]:
    """Sorted groups of the triples that join the same two entities, in either direction."""
    groups: dict[tuple[str, str], list[Triple]] = defaultdict(list)
    for head, relation, tail in sorted(set(triples)):
        groups[min(head, tail), max(head, tail)].append((head, relation, tail))
    return [groups[pair] for pair in sorted(groups)]


def _hash_order(group: list[Triple], seed: str) -> bytes:
    head, _, tail = group[0]
    return hashlib.sha256("\t".join((seed, *sorted((head, tail)))).encode()).digest()
