"""Type-ahead finds what a person means, and the best of it first."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrns.explorer.search import NameSearch
from mmrns.graph import Vocabulary

LABELS = {
    "a": "France", "b": "French Guiana", "c": "San Francisco", "d": "southern france", "e": "Frankfurt", "f": "Italy",
    "g": "Österreich", "fr": "zebra",
}  # fmt: skip


def search_of(labels, weight=None):
    names = Vocabulary("entity", list(labels), list(labels.values()))
    return names, NameSearch(names, weight or [0] * len(labels))


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("france", ["France", "southern france"]),
        ("FRANC", ["France", "San Francisco", "southern france"]),
        ("fr", ["zebra", "France", "Frankfurt", "French Guiana", "San Francisco", "southern france"]),
        ("  southern   France ", ["southern france"]),
        ("österr", ["Österreich"]),
        ("itly", ["Italy"]),
        ("qqqqqqq", []),
    ],
)
def test_what_is_found_and_in_which_order(typed, expected):
    names, search = search_of(LABELS)
    found = [names.labels[row] for row in search(typed)]
    assert found == expected


def test_weight_decides_between_equally_good_matches_and_when_nothing_is_typed():
    labels = {"a": "Guinea", "b": "Guinea-Bissau", "c": "New Guinea"}
    names, search = search_of(labels, [1, 9, 5])
    assert [names.ids[row] for row in search("guin")] == ["b", "a", "c"]
    assert [names.ids[row] for row in search("")] == ["b", "c", "a"]


@given(
    st.lists(st.text("abc ", min_size=1, max_size=6), min_size=1, max_size=30), st.text("abc", min_size=1, max_size=3)
)
def test_everything_that_contains_it_is_found_and_nothing_else(texts, typed):
    labels = {f"{9 - number:03}": text for number, text in enumerate(texts)}
    names, search = search_of(labels, [random.Random(0).randrange(3) for _ in texts])
    containing = {row for row, label in enumerate(names.labels) if typed in label}
    if containing:
        assert set(search(typed, limit=1000)) == containing
        assert search(typed, limit=2) == search(typed, limit=1000)[:2]


def test_any_whole_id_or_label_comes_first():
    names, search = search_of(LABELS)
    for row in range(len(names)):
        assert search(names.labels[row])[0] == row
        assert search(names.ids[row])[0] == row
