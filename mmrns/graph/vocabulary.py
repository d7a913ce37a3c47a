"""Names of entities or relations, and their row numbers."""

import difflib
from dataclasses import dataclass, field
from functools import cached_property

from mmrns.errors import UserError
from mmrns.files import sha256


@dataclass(frozen=True)
class Vocabulary:
    """Ids in row order, each with the label shown to people.

    Attributes:
        kind: "entity" or "relation", for messages.
        ids: unique, sorted by code point; row i of every table belongs to ids[i].
        labels: one a row; the id itself where the dataset gives no label.
    """

    kind: str
    ids: list[str]
    labels: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.labels:
            object.__setattr__(self, "labels", list(self.ids))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def row(self) -> dict[str, int]:
        """Row number of every id."""
        return {identifier: number for number, identifier in enumerate(self.ids)}

    @cached_property
    def _rows_by_label(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for number, label in enumerate(self.labels):
            rows.setdefault(label.casefold(), []).append(number)
        return rows

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of the ids in row order; features and models made for other rows do not match it."""
        return sha256(self.ids)

    def find(self, name: str, flag: str) -> int:
        """Row of the id or label `name` (labels ignore case).

        Raises UserError that names `flag` and the nearest names when it is unknown, or the ids when a label is shared.
        """
        if name in self.row:
            return self.row[name]
        rows = self._rows_by_label.get(name.casefold(), [])
        if len(rows) == 1:
            return rows[0]
        if rows:
            ids = ", ".join(self.ids[row] for row in rows[:5])
            raise UserError(f"{flag} {name}: {len(rows)} share this label; give an id instead: {ids}")
        near = difflib.get_close_matches(name.casefold(), self._rows_by_label, n=3, cutoff=0.6)
        shown = [self.labels[self._rows_by_label[label][0]] for label in near]
        hint = f"did you mean {' or '.join(repr(label) for label in shown)}?" if shown else "check the spelling"
        raise UserError(f"{flag} {name}: unknown {self.kind}; {hint}")
