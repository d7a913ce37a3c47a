"""The sentences of every entity: gloss, example, plain facts, other names; never the name of a neighbour."""

from __future__ import annotations

import re
from typing import Any

from pictokg.glosses import describing_sense
from pictokg.graph import Entity, Graph
from pictokg.masking import MASK, mask_names, mentions, words
from pictokg.wordnet import Synset, WordNet

MAX_OTHER_NAMES = 3
EMOJI_SENTENCE = "A small picture that shows: {}."

_EMPTY_WORDS = """
a an and also any at by called capital for from in is it its of on or picture shows small some that the this to used
who with
"""
EMPTY_WORDS = frozenset(_EMPTY_WORDS.split())
"""A masked sentence of nothing but these is dropped."""

DIRECTIONS = re.compile(
    r"(?:\b(?:(?:north|south|east|west)(?:-?(?:east|west|central))?(?:ern)?|central|middle|equatorial|tropical)[- ]+)+"
    r"(?=\(\.\.\.\))",
    re.IGNORECASE,
)
"""What is left of "southeastern Europe" when the continent is masked; it gives the region away as well."""


def add_described_names(graph: Graph, wordnet: WordNet) -> dict[str, Synset]:
    """Find each entity's describing sense and add its lemmas to the entity's other names."""
    senses = {}
    for id, entity in graph.entities.items():
        if sense := describing_sense(entity, wordnet):
            senses[id] = sense
            graph.entity(id, entity.label, entity.type, sense.lemmas if entity.type != "tag" else ())
    return senses


def write_texts(graph: Graph, senses: dict[str, Synset], countries: dict[str, Any]) -> dict[str, list[str]]:
    """The sentences of every entity of the finished graph."""
    neighbours = graph.neighbours()
    texts = {}
    for id, entity in graph.entities.items():
        hidden = {name for other in neighbours[id] for name in graph.entities[other].names}
        plain = _sentences(entity, senses.get(id), countries.get(id), hidden)
        masked = [_tidy(mask_names(sentence, hidden), entity.type) for sentence in plain]
        full = [sentence for sentence in masked if says_something(sentence)]
        texts[id] = full or [_last_resort(entity, hidden)]
    return texts


def leaks(graph: Graph, texts: dict[str, list[str]]) -> list[tuple[str, str, str]]:
    """(entity, neighbour, sentence) wherever a sentence still names a neighbour."""
    return [
        (id, other, sentence)
        for id, others in sorted(graph.neighbours().items())
        for other in sorted(others)
        for sentence in texts[id]
        if mentions(sentence, graph.entities[other].names)
    ]


def says_something(sentence: str) -> bool:
    """Whether anything but function words is left of a masked sentence."""
    return MASK not in sentence or any(word not in EMPTY_WORDS for word in words(sentence))


def _sentences(entity: Entity, sense: Synset | None, country: Any, hidden: set[str]) -> list[str]:
    """The sentences before masking."""
    sentences = []
    if sense and sense.definition:
        sentences.append(_as_sentence(sense.definition))
    if sense and sense.example and entity.type in ("concept", "tag"):
        sentences.append(_as_sentence(sense.example))
    if country:
        sentences += _country_sentences(country)
    if entity.type == "emoji":
        sentences.append(EMOJI_SENTENCE.format(entity.label))
    if sense and entity.type == "concept":
        others = [lemma for lemma in sense.lemmas if lemma != entity.label and not mentions(lemma, hidden)]
        if others:
            sentences.append(f"Also called {', '.join(others[:MAX_OTHER_NAMES])}.")
    return sentences or [_as_sentence(entity.label)]


def _country_sentences(country: dict[str, Any]) -> list[str]:
    capital = next(iter(country.get("capital") or ()), None)
    coast = "landlocked" if country["landlocked"] else "not landlocked"
    return [
        f"Its capital is {capital}." if capital else "It has no capital.",
        f"It covers {country['area']:,.0f} square kilometres and is {coast}.",
    ]


def _as_sentence(text: str) -> str:
    text = re.sub(r"\s+", " ", text).strip()
    return text[0].upper() + text[1:].rstrip(".!?;,: ") + ("?" if text.endswith("?") else ".")


def _tidy(sentence: str, type: str) -> str:
    """Drop directions before a mask in a country's text and capitalise."""
    if type == "country":
        sentence = DIRECTIONS.sub("", sentence)
    return sentence[0].upper() + sentence[1:]


def _last_resort(entity: Entity, hidden: set[str]) -> str:
    """The masked label, or the type of the entity where the label is a neighbour's name as well."""
    sentence = mask_names(_as_sentence(entity.label), hidden)
    if says_something(sentence):
        return sentence
    article = "An" if entity.type[0] in "aeiou" else "A"
    return f"{article} {entity.type}."
