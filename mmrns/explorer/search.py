"""Finding an entity while its name is being typed."""

import difflib
from functools import cached_property

from mmrns.graph import Vocabulary

# Names that are compared letter by letter when nothing contains what was typed; more would take too long.
_MOST_COMPARED = 50_000


class NameSearch:
    """Looks for parts of labels and ids, whatever their case."""

    def __init__(self, names: Vocabulary, weight: list[int]) -> None:
        """Search `names`; among equally good matches those of larger `weight` (one a row) come first."""
        self._names, self._weight = names, weight

    @cached_property
    def _folded(self) -> list[tuple[str, str]]:
        return [
            (label.casefold(), identifier.casefold())
            for label, identifier in zip(self._names.labels, self._names.ids, strict=True)
        ]

    def __call__(self, typed: str, limit: int = 8) -> list[int]:
        """Rows of at most `limit` names, best first.

        The whole label or id, then labels that start with what was typed, then those in which a word does, then labels
        and ids that contain it; where there is none of them, labels spelled alike.
        """
        wanted = " ".join(typed.split()).casefold()
        if not wanted:
            return sorted(range(len(self._names)), key=lambda row: -self._weight[row])[:limit]
        found = []
        for row, (label, identifier) in enumerate(self._folded):
            if wanted in label or wanted in identifier:
                kind = (
                    0 if wanted in (label, identifier)
                    else 1 if label.startswith(wanted)
                    else 2 if f" {wanted}" in label
                    else 3
                )  # fmt: skip
                found.append((kind, -self._weight[row], len(label), row))
        if found:
            return [row for *_, row in sorted(found)[:limit]]
        return self.alike(wanted, limit)

    def alike(self, typed: str, limit: int = 5) -> list[int]:
        """Rows of labels spelled like what was typed, best first."""
        labels: dict[str, int] = {}
        for row, (label, _) in enumerate(self._folded[:_MOST_COMPARED]):
            labels.setdefault(label, row)
        near = difflib.get_close_matches(typed.casefold(), labels, n=limit, cutoff=0.55)
        return [labels[label] for label in near]
