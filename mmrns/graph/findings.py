"""What a check has to say, and the facts of a dataset that several checks share."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmrns.graph.dataset import SPLITS, Dataset
from mmrns.graph.keys import check_keys
from mmrns.graph.vocabulary import Vocabulary

EXAMPLES = 5
"""Examples shown of a finding."""

Severity = Literal["error", "warning", "note"]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Finding:
    """One thing to know about a dataset.

    Attributes:
        code: short name, the same for every dataset.
        severity: "error" makes results wrong or data unusable, "warning" deserves a decision, "note" is a fact.
        where: the file or part it is about.
        count: how many of what the explanation counts.
        explanation: one line that ends in the mend.
        examples: up to EXAMPLES, with labels and file:line where there is one.
        figures: the numbers of the explanation, by name.
    """

    code: str
    severity: Severity
    where: str
    count: int
    explanation: str
    examples: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


def share(part: int, whole: int) -> str:
    """A part and its percentage, e.g. "73 (1.0 %)"."""
    return f"{part:,} ({100 * part / max(whole, 1):.1f} %)"


class Facts:
    """A dataset and what several checks need of it, computed once. UserError as `check_keys`."""

    def __init__(self, dataset: Dataset) -> None:
        check_keys(len(dataset.entities), len(dataset.relations))
        self.dataset = dataset
        self._sorted: dict[str, tuple[Rows, Rows]] = {}

    def keys(self, split: str) -> Rows:
        """One number a row of the split; equal triples have equal numbers."""
        head, relation, tail = self.dataset.split(split).T
        entities = len(self.dataset.entities)
        return (relation * entities + head) * entities + tail

    def sorted_keys(self, split: str) -> tuple[Rows, Rows]:
        """The split's keys in ascending order, and the row of each (equal keys in file order)."""
        if split not in self._sorted:
            keys = self.keys(split)
            order = np.argsort(keys, kind="stable")
            self._sorted[split] = keys[order], order
        return self._sorted[split]

    def distinct_keys(self, split: str) -> Rows:
        """The split's distinct keys, ascending."""
        keys, _ = self.sorted_keys(split)
        return keys[np.append(True, keys[1:] != keys[:-1])]

    def triples_of(self, keys: Rows) -> Rows:
        """The triples (N, 3) behind keys."""
        entities = len(self.dataset.entities)
        rest, tail = np.divmod(keys, entities)
        relation, head = np.divmod(rest, entities)
        return np.stack([head, relation, tail], axis=1)

    @cached_property
    def distinct(self) -> Rows:
        """Distinct triples (N, 3) of all splits together."""
        return self.triples_of(np.unique(np.concatenate([self.distinct_keys(split) for split in SPLITS])))

    def triple(self, row: Rows) -> str:
        """A triple as people read it."""
        entities, relations = self.dataset.entities.labels, self.dataset.relations.labels
        return f"({entities[row[0]]}, {relations[row[1]]}, {entities[row[2]]})"

    def examples(self, split: str, rows: Rows) -> list[str]:
        """The first few of the split's `rows` (ascending), as file:line and triple."""
        triples = self.dataset.split(split)
        return [f"{self.dataset.files.place(split, row)}: {self.triple(triples[row])}" for row in rows[:EXAMPLES]]

    def first_line(self, vocabulary: Vocabulary, row: int) -> str:
        """file:line where an id occurs first."""
        columns = [1] if vocabulary is self.dataset.relations else [0, 2]
        for split in SPLITS:
            at = np.flatnonzero((self.dataset.split(split)[:, columns] == row).any(axis=1))
            if len(at):
                return self.dataset.files.place(split, at[0])
        raise ValueError(f"row {row} occurs in no triple")


Check = Callable[[Facts], Iterable[Finding]]
CHECKS: list[Check] = []


def check(function: Check) -> Check:
    """Register a check."""
    CHECKS.append(function)
    return function
