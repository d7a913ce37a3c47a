"""Hide the names of an entity's neighbours in a sentence, so that no text states a triple.

Words are compared without case, accents and punctuation and up to simple endings (plural, -ing, -ed); a name is
also found when the text writes it in one word or with other spaces or hyphens ("icecream", "ice-cream").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

MASK = "(...)"

_WORD = re.compile(r"[^\W_]+")
_VOWEL = re.compile(r"[aeiouy]")
_REPEATED_MASKS = re.compile(r"\(\.\.\.\)(?:(?:[\s,/-]|\b(?:and|or)\b)*\(\.\.\.\))+")
_BRACKETED_MASK = re.compile(r"\(\s*\(\.\.\.\)\s*\)")


def words(text: str) -> list[str]:
    """The words of a text in lower case, without accents and punctuation."""
    return [_fold(found.group()) for found in _WORD.finditer(text)]


@lru_cache(maxsize=100_000)
def word_forms(word: str) -> frozenset[str]:
    """A lower-case word with its possible stems; two words match when their forms meet."""
    forms = {word}
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        forms.add(word[:-1])
        if word.endswith("ies"):
            forms.add(word[:-3] + "y")
        elif word.endswith("ves"):
            forms |= {word[:-3] + "f", word[:-3] + "fe"}
        elif word.endswith("es"):
            forms.add(word[:-2])
    for ending in ("ing", "ed"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) > 2 and _VOWEL.search(stem):
            forms |= {stem, stem + "e"}
            if stem[-1] == stem[-2]:
                forms.add(stem[:-1])
    return frozenset(forms)


def find_names(text: str, names: Iterable[str]) -> list[tuple[int, int]]:
    """The character spans of a text that name one of the names; longer names first, spans do not overlap."""
    found = list(_WORD.finditer(text))
    tokens = [_fold(token.group()) for token in found]
    wanted = sorted({tuple(words(name)) for name in names} - {()}, key=lambda name: (-sum(map(len, name)), name))
    free = [True] * len(tokens)
    spans = []
    for name in wanted:
        for start in range(len(tokens)):
            end = _match_end(tokens, start, name)
            if end is not None and all(free[start:end]):
                free[start:end] = [False] * (end - start)
                spans.append((found[start].start(), found[end - 1].end()))
    return sorted(spans)


def mentions(text: str, names: Iterable[str]) -> bool:
    """Whether a text names one of the names."""
    return bool(find_names(text, names))


def mask_names(text: str, names: Iterable[str]) -> str:
    """Replace every mention of the names by `MASK`; runs of masks become one."""
    spans = find_names(text, names)
    if not spans:
        return text
    for start, end in reversed(spans):
        text = text[:start] + MASK + text[end:]
    text = _REPEATED_MASKS.sub(MASK, text)
    return _BRACKETED_MASK.sub(MASK, text)


def _match_end(tokens: list[str], start: int, name: tuple[str, ...]) -> int | None:
    """Where a name that begins at a token ends: word by word, or letter by letter across other word breaks."""
    end = start + len(name)
    if end <= len(tokens) and all(map(_same_word, tokens[start:end], name)):
        return end
    joined, letters = "".join(name), ""
    for end in range(start, len(tokens)):
        letters += tokens[end]
        if len(letters) > len(joined) + 2:
            break
        if len(letters) + 2 >= len(joined) and _same_letters(letters, joined, end - start + 1, len(name)):
            return end + 1
    return None


def _same_word(word: str, name: str) -> bool:
    return not word_forms(word).isdisjoint(word_forms(name))


def _same_letters(letters: str, joined: str, token_count: int, name_count: int) -> bool:
    """Whether other word breaks give the same letters, up to a plural s."""
    if token_count == name_count:
        return False
    return letters in (joined, joined + "s") or letters + "s" == joined


def _fold(word: str) -> str:
    decomposed = unicodedata.normalize("NFKD", word.lower())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))
