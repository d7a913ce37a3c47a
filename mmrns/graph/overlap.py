"""How far the splits share triples, and when valid shares so much that nothing can be selected on it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmrns.graph.dataset import SPLITS, Dataset
from mmrns.graph.findings import Facts, Finding, Rows, check, share

# Valid is broken when more than this share of its distinct triples lies in train or test. DB15K's is 0.99, and that
# of a split drawn at random is 0; in between, a few repeats do not move a metric by more than they are.
BROKEN = 0.1


@dataclass(frozen=True)
class Overlap:
    """What a split shares with the two others.

    Attributes:
        rows, distinct: triples of the split, and distinct ones.
        shared: distinct triples by other split.
        shared_rows: rows by other split.
        clean: distinct triples that lie in this split alone.
        dirty: (rows,) bool, the row lies in another split too.
    """

    rows: int
    distinct: int
    shared: dict[str, int]
    shared_rows: dict[str, int]
    clean: int
    dirty: NDArray[np.bool_]

    @property
    def broken(self) -> bool:
        """Whether a metric on this split measures other splits instead."""
        return self.distinct - self.clean > BROKEN * self.distinct

    def __str__(self) -> str:
        lie = ", ".join(
            f"{share(number, self.distinct)} lie in {other} ({self.shared_rows[other]:,} rows)"
            for other, number in self.shared.items()
        )
        return (
            f"{self.rows:,} rows, {self.distinct:,} distinct triples: {lie}, {share(self.clean, self.distinct)} are "
            "clean"
        )


def overlap(facts: Facts, split: str) -> Overlap:
    """Count what `split` shares with the others."""
    keys, distinct = facts.keys(split), facts.distinct_keys(split)
    clean, dirty = np.ones(len(distinct), dtype=bool), np.zeros(len(keys), dtype=bool)
    shared, shared_rows = {}, {}
    for other in (other for other in SPLITS if other != split):
        inside = _lies_in(distinct, facts.distinct_keys(other))
        rows_inside = _lies_in(keys, facts.distinct_keys(other))
        shared[other], shared_rows[other] = int(inside.sum()), int(rows_inside.sum())
        clean &= ~inside
        dirty |= rows_inside
    return Overlap(len(keys), len(distinct), shared, shared_rows, int(clean.sum()), dirty)


def valid_overlap(dataset: Dataset) -> Overlap:
    """What valid shares with train and test; `broken` says whether to select on it."""
    return overlap(Facts(dataset), "valid")


@check
def split_overlap(facts: Facts) -> Iterator[Finding]:
    """Triples of valid or test that another split holds too."""
    for split in ("valid", "test"):
        found = overlap(facts, split)
        if found.clean == found.distinct:
            continue
        if split == "test" and found.shared["train"]:
            mend = "remove them from train, or results measure memory"
        elif found.broken and split == "valid":
            mend = "mmrns train selects on a slice held out of train instead (--validation)"
        elif split == "valid":
            mend = "remove the lines from valid, or give mmrns train --validation held-out"
        else:
            mend = "do not select on valid: mmrns train --validation held-out does not"
        yield Finding(
            "split-overlap",
            "error",
            facts.dataset.files.name(split),
            found.distinct - found.clean,
            f"{found}; {mend}",
            facts.examples(split, np.flatnonzero(found.dirty)),
            {
                "rows": found.rows,
                "distinct": found.distinct,
                **{f"in_{other}": number for other, number in found.shared.items()},
                **{f"rows_in_{other}": number for other, number in found.shared_rows.items()},
                "clean": found.clean,
                "clean_share": round(found.clean / found.distinct, 6),
                "broken": found.broken,
            },
        )


def _lies_in(values: Rows, ascending: Rows) -> NDArray[np.bool_]:
    """Whether each value occurs in an ascending, non-empty array."""
    return ascending[np.searchsorted(ascending, values).clip(max=len(ascending) - 1)] == values
