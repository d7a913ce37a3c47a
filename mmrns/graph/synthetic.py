"""Graphs of any size from a seed: power-law degrees, relations of every category, and hidden groups behind the triples.

An entity belongs to a hidden group. A relation leads from each group to one other, so the group of a query's answers
follows from the anchor's group and the relation; features made from groups (mmrns/features/synthetic.py) then say
something about answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from numpy.typing import NDArray

from mmrns.errors import UserError
from mmrns.graph.dataset import SPLITS
from mmrns.graph.keys import check_keys
from mmrns.graph.statistics import CATEGORIES
from mmrns.graph.triples import COLUMNS, NAMES

Rows = NDArray[np.int64]

# The member of rank k of a group of S is drawn with probability (k / S)^(1/3) - ((k - 1) / S)^(1/3): its degree falls
# as k^(-2/3), so that the number of entities of degree d falls as d^(-5/2).
_SKEW = 3
_BLOCK = 1 << 20  # triples drawn, or written, at once
# Rounds in a row that may leave so much of what is missing, because nearly all that is drawn is there already.
_HOPELESS, _MOST_VAIN = 0.95, 20
ONE_ONE, ONE_N, N_ONE, N_N = range(len(CATEGORIES))
_KINDS = np.array([N_ONE, N_N, ONE_N, ONE_ONE])  # of relations 0, 1, 2, 3, and so on in turn
_MIX = np.uint64(0x9E3779B97F4A7C15)  # the golden ratio's 64 bits, of Fibonacci hashing


@dataclass(frozen=True)
class SyntheticGraph:
    """What a graph is drawn from. Row i is called e0…i, so that rows of the vocabulary are these rows.

    Attributes:
        entities, triples, relations: how many; all entities and relations occur in train.
        seed: of everything.
        noise: share of the triples of N-N relations whose tail is any entity at all.
        held_out: triples of valid, and of test.
    """

    entities: int
    triples: int
    relations: int
    seed: int = 0
    noise: float = 0.1
    held_out: int = 1000

    def __post_init__(self) -> None:
        """Raise UserError for sizes that no graph has."""
        for name, least in (("entities", 20), ("relations", 2), ("held_out", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: give {least} or more")
        check_keys(self.entities, self.relations)
        needed = self.entities + self.relations + 2 * self.held_out
        if self.triples < needed:
            raise UserError(
                f"--triples {self.triples}: {self.entities} entities, {self.relations} relations and 2 x "
                f"{self.held_out} held-out triples need {needed} or more"
            )

    @property
    def groups(self) -> int:
        """Hidden groups: one for about 50 entities, at most 4096."""
        return min(4096, max(2, self.entities // 50))

    def group(self, rows: Rows) -> Rows:
        """Hidden group of entity rows: neighbours in the numbering are in different groups."""
        return rows % self.groups

    def category(self, relation: Rows) -> Rows:
        """The category a relation is drawn to have, as an index into CATEGORIES. Relation 0 covers all entities."""
        return _KINDS[relation % len(_KINDS)]

    def draw(self) -> tuple[Rows, Rows]:
        """Distinct triples as numbers (see `triples_of`), in random order, those that cover all names first.

        Returns:
            (M,) numbers, and () how many of the first ones must stay in train.

        Raises:
            UserError: so dense a graph that distinct triples could not be found.
        """
        rng = np.random.default_rng([self.seed, 1])
        everyone, each = np.arange(self.entities), np.arange(1, self.relations)
        cover = np.concatenate([self._triples(rng, 0 * everyone, everyone), self._triples(rng, each)])
        cover = np.sort(self._numbers(cover))
        found = cover
        vain = 0
        while missing := self.triples - len(found):
            blocks = [
                self._numbers(self._triples(rng, self._relations(rng, min(_BLOCK, missing - start))))
                for start in range(0, missing, _BLOCK)
            ]
            found = _sorted_distinct(np.concatenate([found, *blocks]))
            vain = vain + 1 if self.triples - len(found) > _HOPELESS * missing else 0
            if vain > _MOST_VAIN:
                raise UserError(f"--triples {self.triples}: so many distinct ones cannot be drawn here; give fewer")
        others = np.setdiff1d(found, cover, assume_unique=True)
        return np.concatenate([rng.permutation(cover), rng.permutation(others)]), np.array(len(cover))

    def triples_of(self, numbers: Rows) -> Rows:
        """(N, 3) rows of head, relation, tail behind numbers."""
        rest, tail = np.divmod(numbers, self.entities)
        relation, head = np.divmod(rest, self.entities)
        return np.stack([head, relation, tail], axis=1)

    def _numbers(self, triples: Rows) -> Rows:
        head, relation, tail = triples.T
        return (relation * self.entities + head) * self.entities + tail

    def _relations(self, rng: np.random.Generator, number: int) -> Rows:
        """Relations but the first, in proportion to rank^(-1/2)."""
        return 1 + ((self.relations - 1) * rng.random(number) ** 2).astype(np.int64)

    def _domain(self, relation: Rows) -> Rows:
        """How many groups a relation leads from: so few that the sides that should have several answers do."""
        others = self.relations - 1
        share = np.sqrt(np.maximum(relation, 1) / others) - np.sqrt(np.maximum(relation - 1, 0) / others)
        an_entity = np.where(self.category(relation) == N_N, 2.0, 0.5)  # triples for each of the group's entities
        return np.clip(share * self.triples / (an_entity * self.entities / self.groups), 1, self.groups).astype(
            np.int64
        )

    def _triples(self, rng: np.random.Generator, relation: Rows, given: Rows | None = None) -> Rows:
        """A triple for each relation; heads, or the tails of 1-N relations, are drawn where none are `given`."""
        category, leads = self.category(relation), (self._hash(relation, relation) * self.groups).astype(np.int64)
        leads = np.where(category == ONE_N, -leads, leads)
        if given is None:
            among = (rng.random(len(relation)) * self._domain(relation)).astype(np.int64)
            places = rng.random(len(relation))
            given = self._member((leads + among) % self.groups, np.where(category == N_N, places**_SKEW, places))
        to = (self.group(given) + leads) % self.groups
        # Several answers to both sides: any member of the group, by the power law. To one side alone: a member chosen
        # by a hash of what is given. To neither: a member that nothing else of the group leads to.
        other = self._member(to, rng.random(len(relation)) ** _SKEW)
        stray = (category == N_N) & (rng.random(len(relation)) < self.noise)
        other = np.where(stray, rng.integers(self.entities, size=len(relation)), other)
        one = (category == N_ONE) | (category == ONE_N)
        other = np.where(one, self._member(to, self._hash(given, relation) ** (2 * _SKEW)), other)
        shifted = (given // self.groups + relation) % self._size(to)
        other = np.where(category == ONE_ONE, to + self.groups * shifted, other)
        head, tail = np.where(category == ONE_N, (other, given), (given, other))
        return np.stack([head, relation, tail], axis=1)

    def _size(self, group: Rows) -> Rows:
        return (self.entities - 1 - group) // self.groups + 1

    def _member(self, group: Rows, place: NDArray[np.float64]) -> Rows:
        """The member of a group at a place in [0, 1)."""
        return group + self.groups * (place * self._size(group)).astype(np.int64)

    def _hash(self, left: Rows, right: Rows) -> NDArray[np.float64]:
        """A number in [0, 1) of two rows and the seed."""
        mixed = left.astype(np.uint64) * _MIX + right.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)
        mixed += np.uint64(self.seed * 0x94D049BB133111EB % 2**64)
        mixed ^= mixed >> np.uint64(32)
        mixed *= _MIX
        mixed ^= mixed >> np.uint64(29)
        mixed *= _MIX
        return (mixed >> np.uint64(11)).astype(np.float64) / 2**53

    def write(self, folder: Path) -> None:
        """Write train.txt, valid.txt and test.txt into a folder."""
        numbers, covering = self.draw()
        last = len(numbers) - self.held_out
        ends = {"train": (0, last - self.held_out), "valid": (last - self.held_out, last), "test": (last, len(numbers))}
        assert int(covering) <= ends["train"][1]
        entities, relations = self._names("e", self.entities), self._names("r", self.relations)
        for split in SPLITS:
            with (folder / NAMES.name(split)).open("wb") as file:
                for block in _blocks(numbers[slice(*ends[split])]):
                    head, relation, tail = self.triples_of(block).T
                    columns = entities.take(head), relations.take(relation), entities.take(tail)
                    table = pa.table([column.cast(pa.string()) for column in columns], names=COLUMNS)
                    options = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
                    csv.write_csv(table, file, options)

    def _names(self, letter: str, number: int) -> pa.Array:
        digits = len(str(number - 1))
        return pa.array([f"{letter}{row:0{digits}}" for row in range(number)])


def _blocks(numbers: Rows) -> Iterator[Rows]:
    for start in range(0, len(numbers), _BLOCK):
        yield numbers[start : start + _BLOCK]


def _sorted_distinct(numbers: Rows) -> Rows:
    numbers.sort()
    return numbers[np.append(True, numbers[1:] != numbers[:-1])]
