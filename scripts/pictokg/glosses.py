"""The WordNet sense whose gloss describes an entity, for every type of entity."""

from __future__ import annotations

import re

from pictokg.graph import Entity
from pictokg.wordnet import Synset, WordNet

STRONG_COUNTRY_WORDS = re.compile(
    r"\b(republic|kingdom|monarchy|emirates?|sultanate|principality|nation|country|duchy|democracy|dictatorship)\b",
    re.IGNORECASE,
)
WEAK_COUNTRY_WORDS = re.compile(
    r"\b(islands?|territory|colony|state|city|commonwealth|dependency|possession|archipelago)\b", re.IGNORECASE
)
"""A gloss is about a country when it has one of these words; a strong one is preferred."""

TOPICS = {
    "language": ("communication",),
    "language family": ("communication",),
    "script": ("communication",),
    "currency": ("quantity",),
    "region": ("location", "object"),
    "organisation": ("group",),
    "day": ("time",),
}
"""Entity type -> WordNet topics in which its name means what it should."""

LANGUAGE_WORDS = re.compile(r"\b(languages?|dialects?|spoken|speak|creole|family)\b", re.IGNORECASE)


def describing_sense(entity: Entity, wordnet: WordNet) -> Synset | None:
    """The sense to take gloss, example and other names from, or None."""
    if entity.type == "concept":
        return wordnet.by_name[entity.id.removeprefix("wn:")]
    if entity.type == "tag":
        return wordnet.senses(entity.label)[0]
    if entity.type == "country":
        return _country_sense(entity, wordnet)
    topics = TOPICS.get(entity.type, ())
    for sense in wordnet.senses(entity.label):
        if sense.topic in topics and _fits_type(sense, entity.type):
            return sense
    return None


def _fits_type(sense: Synset, type: str) -> bool:
    """Languages are told from alphabets and peoples by their gloss, regions from countries of the same name."""
    if type in ("language", "language family"):
        return bool(LANGUAGE_WORDS.search(sense.definition))
    return type != "region" or not STRONG_COUNTRY_WORDS.search(sense.definition)


def _country_sense(entity: Entity, wordnet: WordNet) -> Synset | None:
    """The sense that is most clearly a country; its common name is looked up before its other names."""
    names = [entity.label, *sorted(entity.aliases)]
    senses = [
        sense
        for name in names
        for sense in wordnet.senses(name)
        if sense.topic == "location" and name.lower() in {lemma.lower() for lemma in sense.lemmas}
    ]
    for pattern in (STRONG_COUNTRY_WORDS, WEAK_COUNTRY_WORDS):
        fitting = [sense for sense in senses if pattern.search(sense.definition)]
        if fitting:
            lower_names = {name.lower() for name in names}
            return min(fitting, key=lambda sense: sense.lemmas[0].lower() not in lower_names)
    return None
