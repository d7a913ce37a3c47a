"""The graph while it is being built: entities with labels, other names and pictures, and a set of triples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

Triple = tuple[str, str, str]

RELATION_LABELS = {
    "borders": "shares a border with",
    "composed_with": "composed with",
    "former_currency": "former currency",
    "has_tag": "has tag",
    "in_group": "in group",
    "in_subgroup": "in subgroup",
    "includes_country": "includes country",
    "includes_language": "includes language",
    "is_a": "is a",
    "member_of": "member of",
    "official_language": "official language",
    "part_of": "part of",
    "spoken_language": "spoken language",
    "un_regional_group": "United Nations regional group",
    "uses_currency": "uses currency",
    "utc_offset": "standard time offset",
    "week_starts_on": "week starts on",
    "written_in": "written in script",
}
"""Relation id -> label for people."""

MIN_ALIAS_LENGTH = 3
"""Shorter other names (country codes, chemical symbols) would hide ordinary words such as "in" or "be"."""


@dataclass
class Entity:
    """A node: `aliases` are other names that would give it away in the text of a neighbour."""

    id: str
    label: str
    type: str
    aliases: set[str] = field(default_factory=set)
    pictures: list[Path] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        """The label and every alias."""
        return {self.label, *self.aliases}


class Graph:
    """Entities by id and a set of triples."""

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}
        self.triples: set[Triple] = set()

    def entity(self, id: str, label: str, type: str, aliases: Iterable[str] = ()) -> str:
        """Add an entity, or more aliases to one that is there; returns the id."""
        entity = self.entities.setdefault(id, Entity(id, label, type))
        entity.aliases.update(alias for alias in aliases if len(alias) >= MIN_ALIAS_LENGTH)
        return id

    def add(self, head: str, relation: str, tail: str) -> None:
        """Add a triple between two entities that are there."""
        if head == tail:
            raise ValueError(f"loop: {head} {relation}")
        if relation not in RELATION_LABELS or head not in self.entities or tail not in self.entities:
            raise KeyError((head, relation, tail))
        self.triples.add((head, relation, tail))

    def pairs(self, relation: str) -> list[tuple[str, str]]:
        """Sorted (head, tail) pairs of a relation."""
        return sorted((head, tail) for head, name, tail in self.triples if name == relation)

    def neighbours(self) -> dict[str, set[str]]:
        """Entity id -> ids of the entities it shares a triple with, in either direction."""
        result: dict[str, set[str]] = defaultdict(set)
        for head, _, tail in self.triples:
            result[head].add(tail)
            result[tail].add(head)
        return result

    def keep(self, triples: set[Triple]) -> None:
        """Reduce the graph to some triples and the entities in them."""
        self.triples = triples
        used = {id for head, _, tail in triples for id in (head, tail)}
        self.entities = {id: self.entities[id] for id in sorted(used)}
