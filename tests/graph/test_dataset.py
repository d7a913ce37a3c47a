import numpy as np
import pytest
import torch

from mmrns.errors import UserError
from mmrns.graph.answers import TAIL, Queries
from mmrns.graph.dataset import known_datasets, load_dataset

TRAIN = [("b", "likes", "a"), ("a", "likes", "b"), ("b", "likes", "a"), ("ö", "knows", "a")]
VALID, TEST = [("a", "knows", "c")], [("c", "likes", "日本")]


def names(dataset, split):
    entities, relations = dataset.entities.ids, dataset.relations.ids
    return [(entities[h], relations[r], entities[t]) for h, r, t in dataset.split(split).tolist()]


def test_every_row_is_kept_in_file_order_duplicates_too(write_dataset):
    dataset = load_dataset(write_dataset(TRAIN, VALID, TEST))
    assert (names(dataset, "train"), names(dataset, "valid"), names(dataset, "test")) == (TRAIN, VALID, TEST)
    assert dataset.train.dtype == np.int64


def test_vocabularies_hold_every_name_of_every_split_sorted_by_code_point(write_dataset):
    dataset = load_dataset(write_dataset(TRAIN, VALID, TEST))
    assert dataset.entities.ids == ["a", "b", "c", "ö", "日本"]
    assert dataset.relations.ids == ["knows", "likes"]


def test_seen_marks_the_entities_of_train(write_dataset):
    dataset = load_dataset(write_dataset(TRAIN, VALID, TEST))
    assert dataset.seen.tolist() == [True, True, False, True, False]


def test_records_give_labels_and_the_id_stands_in_for_a_missing_one(write_dataset):
    records = [{"id": "a", "label": "Anna", "images": ["a.png"]}, {"id": "c"}, {"id": "nobody", "label": "No one"}]
    dataset = load_dataset(write_dataset(TRAIN, VALID, TEST, records, [{"id": "knows", "label": "is acquainted with"}]))
    assert dataset.entities.labels == ["Anna", "b", "c", "ö", "日本"]
    assert dataset.relations.labels == ["is acquainted with", "likes"]
    assert list(dataset.records) == ["a", "c", "nobody"]
    assert dataset.records["a"]["images"] == ["a.png"]


def test_answers_are_those_of_the_splits_asked_for(write_dataset):
    dataset = load_dataset(write_dataset(TRAIN, [("a", "likes", "c")], TEST))
    likes_of_a = Queries.of(torch.tensor([[0, 1, 1]]), TAIL)
    of_train, of_all = dataset.answers("train"), dataset.answers()
    assert of_train.pairs(of_train.rows(likes_of_a))[1].tolist() == [1]
    assert of_all.pairs(of_all.rows(likes_of_a))[1].tolist() == [1, 2]
    assert dataset.answers("train") is of_train


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a\tr\tb\nb\tr\tc\n", id="line feeds"),
        pytest.param(b"a\tr\tb\nb\tr\tc", id="no newline at the end"),
        pytest.param(b"a\tr\tb\r\nb\tr\tc\r\n", id="CRLF"),
        pytest.param(b"a\tr\tb\r\nb\tr\tc", id="CRLF, none at the end"),
        pytest.param(b"\xef\xbb\xbfa\tr\tb\nb\tr\tc\n", id="byte-order mark"),
    ],
)
def test_line_ends_and_a_byte_order_mark_make_no_difference(write_dataset, content):
    folder = write_dataset(TRAIN)
    for split in ("train", "valid", "test"):
        (folder / f"{split}.txt").write_bytes(content)
    dataset = load_dataset(folder)
    assert dataset.entities.ids == ["a", "b", "c"]
    assert names(dataset, "train") == [("a", "r", "b"), ("b", "r", "c")]


@pytest.mark.parametrize("name", ['"quoted', "NA", "null", " spaced ", "a\x0bb", "a\u2028b", "a,b", "#", "\\t"])
def test_names_are_taken_literally(write_dataset, name):
    triples = [(name, "r", "plain"), ("plain", "r", name)]
    assert names(load_dataset(write_dataset(triples)), "train") == triples


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"train\.txt: is empty; write one triple a line"),
        (b"\n\n", r"train\.txt: is empty; write one triple a line"),
        (b"a\tr\tb\na\tr\n", r"train\.txt:2: 2 columns instead of 3; write head TAB relation TAB tail"),
        (b"a\tr\tb\na\tr\tb\tc\n", r"train\.txt:2: 4 columns instead of 3; write head TAB"),
        (b"ab\n", r"train\.txt:1: 1 column instead of 3; write head TAB"),
        (b"a r b\n", r"train\.txt:1: 1 column instead of 3; the line seems to be separated by blanks: write head TAB"),
        (b"New York,is in,U S A\n", r"txt:1: 1 column instead of 3; the line seems to be separated by commas: write"),
        (b"a,b;r;c\n", r"txt:1: 1 column instead of 3; the line seems to be separated by semicolons: write head TAB"),
        (b"a,r,b,0.5\n", r"txt:1: 1 column instead of 3; the line seems to be separated by commas: write head TAB"),
        (b"a, b\tr\n", r"train\.txt:1: 2 columns instead of 3; write head TAB"),
        (b"a\tr\tb\n\nb\tr\tc\n", r"train\.txt:2: a blank line; remove it"),
        (b"a\tr\tb\r\n\r\nb\tr\tc\r\n", r"train\.txt:2: a blank line; remove it"),
        (b"a\tr\tb\n\tr\tb\n", r"train\.txt:2: an empty name; write head TAB"),
        (b"a\tr\tb\na\t\tb\n", r"train\.txt:2: an empty name; write head TAB"),
        (b"a\tr\tb\na\tr\t\n", r"train\.txt:2: an empty name; write head TAB"),
        (b"a\tr\tb\na\tr\t\xff\n", r"train\.txt:2: not UTF-8 \(byte 0xff\); save the file as UTF-8"),
    ],
)
def test_a_bad_split_file_is_refused_in_one_line_that_names_the_line_and_the_mend(write_dataset, content, message):
    folder = write_dataset(TRAIN)
    (folder / "train.txt").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load_dataset(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_missing_split_is_named(write_dataset, split):
    folder = write_dataset(TRAIN)
    (folder / f"{split}.txt").unlink()
    with pytest.raises(UserError, match=rf"{split}\.txt: missing; a dataset folder needs train\.txt, valid"):
        load_dataset(folder)


@pytest.mark.parametrize(
    ("other", "mend"),
    [
        ("train.csv", r"test\.txt \(there is train\.csv: convert it to tab-separated train\.txt\)$"),
        ("train.tsv", r"test\.txt \(there is train\.tsv: rename it to train\.txt\)$"),
        ("other.csv", r"test\.txt$"),
    ],
)
def test_a_split_of_another_suffix_is_pointed_to(write_dataset, other, mend):
    folder = write_dataset(TRAIN)
    (folder / "train.txt").rename(folder / other)
    with pytest.raises(UserError, match=rf"train\.txt: missing; a dataset folder needs .*{mend}"):
        load_dataset(folder)


@pytest.mark.parametrize("file", ["entities.jsonl", "relations.jsonl"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{oops", r":2: not a JSON object in UTF-8 .*; mend or remove the line"),
        (b"", r":2: not a JSON object in UTF-8 .*; mend or remove the line"),
        (b'{"id": "\xff"}', r":2: not a JSON object in UTF-8 .*; mend or remove the line"),
        (b'["b"]', r':2: needs an object with a text "id"; mend or remove the line'),
        (b'{"label": "Bob"}', r':2: needs an object with a text "id"; mend or remove the line'),
        (b'{"id": 7}', r':2: needs an object with a text "id"; mend or remove the line'),
        (b'{"id": "a"}', r":2: id 'a' occurs twice; keep one line an id"),
        (b'{"id": "b", "label": 3}', r':2: "label" must be a text; mend the line'),
        (b'{"id": "b", "texts": "one"}', r':2: "texts" must be a list of texts; mend the line'),
        (b'{"id": "b", "images": [1]}', r':2: "images" must be a list of texts; mend the line'),
        (rb'{"id": "b\ud83d"}', r':2: "id" holds \\ud83d, half of a surrogate pair; mend the line'),
        (rb'{"id": "b", "label": "x\udc4d\ud83d"}', r':2: "label" holds \\udc4d, half of a surrogate pair; mend'),
        (rb'{"id": "b", "type": "\ud83d"}', r':2: "type" holds \\ud83d, half of a surrogate pair; mend the line'),
        (rb'{"id": "b", "images": ["a.png", "\ud83d.png"]}', r':2: "images" holds \\ud83d, half of a surrogate pair'),
    ],
)
def test_a_bad_record_is_refused_in_one_line_that_names_the_line_and_the_mend(write_dataset, file, line, message):
    folder = write_dataset(TRAIN)
    (folder / file).write_bytes(b'{"id": "a"}\n' + line + b'\n{"id": "c"}\n')
    with pytest.raises(UserError, match=file + message) as error:
        load_dataset(folder)
    assert "\n" not in str(error.value)


def test_whole_surrogate_pairs_are_characters_and_half_of_one_in_a_text_is_let_be(write_dataset):
    folder = write_dataset(TRAIN)
    (folder / "entities.jsonl").write_bytes(rb'{"id": "a", "label": "x\ud83d\udc4d", "texts": ["\ud83d"]}')
    dataset = load_dataset(folder)
    assert dataset.entities.labels[0] == "x\N{THUMBS UP SIGN}"
    assert dataset.records["a"]["texts"] == ["\ud83d"]


def test_a_dataset_is_looked_for_by_name_below_the_data_folder(write_dataset, monkeypatch, tmp_path):
    folder = write_dataset(TRAIN)
    monkeypatch.setenv("MMRNS_DATA", str(folder.parent))
    monkeypatch.chdir(tmp_path)
    assert load_dataset(folder.name).name == folder.name
    assert folder in known_datasets()


@pytest.mark.parametrize(("flag", "named"), [("", "nowhere"), ("--dataset", "--dataset nowhere")])
def test_an_unknown_dataset_names_the_places_looked_in_and_the_flag_if_there_is_one(monkeypatch, tmp_path, flag, named):
    monkeypatch.setenv("MMRNS_DATA", str(tmp_path))
    with pytest.raises(UserError, match=f"^{named}: no such dataset") as error:
        load_dataset("nowhere", flag)
    assert str(tmp_path / "nowhere") in str(error.value)
