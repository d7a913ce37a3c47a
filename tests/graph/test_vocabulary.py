import hashlib

import pytest

from mmrns.errors import UserError
from mmrns.graph.vocabulary import Vocabulary


@pytest.fixture
def countries():
    return Vocabulary("entity", ["Q1", "Q2", "Q3", "Q4"], ["Georgia", "Georgia", "Åland", "Q1"])


def test_an_id_is_found_before_a_label_that_reads_the_same(countries):
    assert countries.find("Q1", "--head") == 0


@pytest.mark.parametrize("name", ["Åland", "åland", "ÅLAND"])
def test_a_label_is_found_in_any_case(countries, name):
    assert countries.find(name, "--head") == 2


def test_an_id_is_found_only_in_its_own_case(countries):
    with pytest.raises(UserError, match="unknown entity"):
        countries.find("q3", "--head")


def test_a_shared_label_names_the_ids_to_choose_from(countries):
    with pytest.raises(UserError, match=r"--head georgia: 2 share this label; give an id instead: Q1, Q2"):
        countries.find("georgia", "--head")


def test_a_misspelt_name_is_answered_with_the_nearest_one(countries):
    with pytest.raises(UserError, match=r"--tail Alandd: unknown entity; did you mean 'Åland'\?"):
        countries.find("Alandd", "--tail")


def test_a_name_like_none_gets_a_mend_all_the_same(countries):
    with pytest.raises(UserError, match="--tail zzzzzz: unknown entity; check the spelling"):
        countries.find("zzzzzz", "--tail")


def test_labels_are_the_ids_where_none_are_given():
    vocabulary = Vocabulary("relation", ["likes", "knows"])
    assert vocabulary.labels == ["likes", "knows"]
    assert vocabulary.row == {"likes": 0, "knows": 1}


def test_fingerprint_depends_on_ids_and_their_order_but_not_on_labels():
    fingerprint = Vocabulary("entity", ["a", "b"]).sha256
    assert fingerprint == hashlib.sha256(b"a\nb\n").hexdigest()
    assert fingerprint == Vocabulary("entity", ["a", "b"], ["x", "y"]).sha256
    assert fingerprint != Vocabulary("entity", ["b", "a"]).sha256
    assert fingerprint != Vocabulary("entity", ["ab"]).sha256
