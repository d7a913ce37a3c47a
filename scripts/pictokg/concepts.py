"""Concepts: pictured WordNet senses, their hypernyms and wholes, and what OpenMoji says about each picture."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pictokg.graph import Graph
from pictokg.masking import word_forms, words
from pictokg.wordnet import HYPERNYMS, PARTS, WHOLES, Synset, WordNet

SENSE_LINKS_FILE = Path(__file__).with_name("sense_links.tsv")
"""The pictures used, each with its WordNet sense or "-". The senses were once proposed by a sentence encoder and
then corrected by hand; the table is frozen, so that a rebuild cannot flip a link."""

TOO_GENERAL = frozenset(
    {
        "abstraction.n.06",
        "causal_agent.n.01",
        "entity.n.01",
        "living_thing.n.01",
        "matter.n.03",
        "object.n.01",
        "physical_entity.n.01",
        "psychological_feature.n.01",
        "thing.n.12",
        "whole.n.02",
    }
)
"""Hypernyms at the top of WordNet that say nothing."""

MIN_BRANCHES = 3
"""A hypernym without a picture stays when it joins at least this many branches."""

TAG_SIZES = range(4, 81)
"""A tag with fewer members says nothing, one with more says too little."""

MAX_TAG_OVERLAP = 0.7
"""A tag whose members are (Jaccard) those of a subgroup or of another tag is left out."""

OWN_COLLECTION = "extras-openmoji"
"""The OpenMoji group that is not one of Unicode's; its subgroups are used, the group itself is not."""

Emoji = dict[str, str]


@dataclass(frozen=True)
class SenseLink:
    """A picture and the name of its WordNet sense, if it has one."""

    hexcode: str
    name: str
    synset: str | None


def read_sense_links(path: Path = SENSE_LINKS_FILE) -> list[SenseLink]:
    """Read the frozen table."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [SenseLink(r["hexcode"], r["name"], None if r["synset"] == "-" else r["synset"]) for r in rows]


def add_concepts(graph: Graph, wordnet: WordNet, openmoji: Path, links: list[SenseLink]) -> None:
    """Add everything that starts from a picture of a concept."""
    catalogue = json.loads((openmoji / "data" / "openmoji.json").read_text(encoding="utf-8"))
    emojis: dict[str, Emoji] = {emoji["hexcode"]: emoji for emoji in catalogue}
    picture_names = defaultdict(list)
    for link in links:
        picture_names[link.synset].append(link.name)

    entity_of = {}
    for link in links:
        if link.synset:
            id = _add_synset(graph, wordnet.by_name[link.synset], picture_names[link.synset])
        else:
            id = graph.entity(f"emoji:{link.hexcode}", link.name, "emoji")
        graph.entities[id].pictures.append(openmoji / "color" / "svg" / f"{link.hexcode}.svg")
        entity_of[link.hexcode] = id

    _add_hierarchy(graph, wordnet, {link.synset for link in links if link.synset})
    _add_subgroups(graph, entity_of, emojis)
    _add_tags(graph, wordnet, entity_of, emojis)
    _add_components(graph, entity_of)


def _add_synset(graph: Graph, synset: Synset, picture_names: Iterable[str] = ()) -> str:
    """A concept is called as its picture is, where WordNet knows that name ("pig", not "hog")."""
    lemmas = {lemma.lower(): lemma for lemma in synset.lemmas}
    label = next((lemmas[name.lower()] for name in picture_names if name.lower() in lemmas), synset.lemmas[0])
    return graph.entity(f"wn:{synset.name}", label, "concept", synset.lemmas)


def _add_hierarchy(graph: Graph, wordnet: WordNet, pictured: set[str]) -> None:
    """`is_a` in the hypernym graph contracted to the kept senses, and `part_of` among these."""
    branches: dict[str, set[str]] = defaultdict(set)
    ancestors: set[str] = set()
    queue = sorted(pictured)
    while queue:
        name = queue.pop()
        if name not in ancestors:
            ancestors.add(name)
            for parent in wordnet.related(wordnet.by_name[name], HYPERNYMS):
                branches[parent.name].add(name)
                queue.append(parent.name)
    kept = {name for name in ancestors - TOO_GENERAL if name in pictured or len(branches[name]) >= MIN_BRANCHES}

    def nearest_kept(name: str) -> set[str]:
        found: set[str] = set()
        for parent in wordnet.related(wordnet.by_name[name], HYPERNYMS):
            if parent.name in kept:
                found.add(parent.name)
            elif parent.name not in TOO_GENERAL:
                found |= nearest_kept(parent.name)
        return found

    for name in sorted(kept):
        synset = wordnet.by_name[name]
        id = _add_synset(graph, synset)
        for parent_name in sorted(nearest_kept(name)):
            graph.add(id, "is_a", _add_synset(graph, wordnet.by_name[parent_name]))
        for whole in wordnet.related(synset, WHOLES):
            if whole.name in kept:
                graph.add(id, "part_of", _add_synset(graph, whole))
        for part in wordnet.related(synset, PARTS):
            if part.name in kept:
                graph.add(_add_synset(graph, part), "part_of", id)


def _add_subgroups(graph: Graph, entity_of: dict[str, str], emojis: dict[str, Emoji]) -> None:
    for hexcode, id in entity_of.items():
        subgroup, group = emojis[hexcode]["subgroups"], emojis[hexcode]["group"]
        label = subgroup.replace("-", " ")
        specific = label.partition(" ")[2]
        subgroup_id = graph.entity(f"sub:{subgroup}", label, "subgroup", [specific] if specific != "other" else [])
        graph.add(id, "in_subgroup", subgroup_id)
        if group != OWN_COLLECTION:
            group_id = graph.entity(f"grp:{group}", group.replace("-", " and "), "group")
            graph.add(subgroup_id, "in_group", group_id)


def _add_tags(graph: Graph, wordnet: WordNet, entity_of: dict[str, str], emojis: dict[str, Emoji]) -> None:
    """`has_tag`: a tag that is only a word of the name is no fact and is left out."""
    names: dict[str, set[str]] = defaultdict(set)
    for hexcode, id in entity_of.items():
        names[id] |= {emojis[hexcode]["annotation"], *graph.entities[id].names}
    members: dict[str, set[str]] = defaultdict(set)
    for hexcode, id in entity_of.items():
        for tag in emojis[hexcode]["tags"].split(","):
            tag = tag.strip().lower()
            if re.fullmatch(r"[a-z]{3,}", tag) and not _repeats_name(tag, names[id]):
                members[tag].add(id)

    taken: list[set[str]] = list(_members_by_subgroup(graph).values())
    for tag, ids in sorted(members.items(), key=lambda item: (-len(item[1]), item[0])):
        overlap = max((len(ids & other) / len(ids | other) for other in taken), default=0)
        if len(ids) in TAG_SIZES and overlap <= MAX_TAG_OVERLAP and wordnet.senses(tag):
            taken.append(ids)
            for id in sorted(ids):
                graph.add(id, "has_tag", graph.entity(f"tag:{tag}", tag, "tag"))


def _repeats_name(tag: str, names: set[str]) -> bool:
    """Whether a tag is a word of a name, or is contained in one, or contains one ("sunflower" and "flower")."""
    own = {word for name in names for word in words(name)}
    if any(word_forms(tag) & word_forms(word) for word in own):
        return True
    return any(tag in word or word in tag for word in own if len(word) > 3)


def _members_by_subgroup(graph: Graph) -> dict[str, set[str]]:
    members: dict[str, set[str]] = defaultdict(set)
    for id, subgroup in graph.pairs("in_subgroup"):
        members[subgroup].add(id)
    return members


def _add_components(graph: Graph, entity_of: dict[str, str]) -> None:
    """`composed_with`: the emoji that a zero-width joiner (200D) puts together in a sequence."""
    for hexcode, id in entity_of.items():
        parts = hexcode.split("-")
        if "200D" in parts:
            for part in parts:
                component = entity_of.get(part)
                if component and component != id:
                    graph.add(id, "composed_with", component)
