"""Triples as they are published: tab-separated names, N-Triples with MMKB's trailing dot, OpenKE's numbers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrns.errors import UserError
from mmrns.graph.check import check_dataset
from mmrns.graph.dataset import known_datasets, load_dataset
from mmrns.graph.openke import read_names

SPLITS = {
    "train": [("<http://a.org/A>", "<http://a.org/r>", "<http://a.org/B_(x)>"), ("<http://a.org/B_(x)>", "s", "C")],
    "valid": [("C", "s", "<http://a.org/A>")],
    "test": [("C", "<http://a.org/r>", "<http://a.org/A>"), ("C", "s", "C")],
}


def write_names(folder, splits=SPLITS, form="{}\t{}\t{}\n"):
    folder.mkdir(parents=True, exist_ok=True)
    for split, triples in splits.items():
        (folder / f"{split}.txt").write_text("".join(form.format(*triple) for triple in triples), encoding="utf-8")
    return folder


def write_openke(folder, splits=SPLITS, header=True):
    """Numbers in the order of first appearance; a triple's order is head, tail, relation."""
    folder.mkdir(parents=True, exist_ok=True)
    every = [triple for triples in splits.values() for triple in triples]
    entities = list(dict.fromkeys(name for head, _, tail in every for name in (head, tail)))
    relations = list(dict.fromkeys(relation for _, relation, _ in every))
    for kind, names in (("entity", entities), ("relation", relations)):
        lines = [f"{len(names)}\n"] * header + [f"{name}\t{number}\n" for number, name in enumerate(names)]
        (folder / f"{kind}2id.txt").write_text("".join(lines), encoding="utf-8")
    for split, triples in splits.items():
        rows = [(entities.index(h), entities.index(t), relations.index(r)) for h, r, t in triples]
        text = f"{len(rows)}\n" + "".join("{} {} {}\n".format(*row) for row in rows)
        (folder / f"{split}2id.txt").write_text(text)
    return folder


def names(dataset, split):
    entities, relations = dataset.entities.ids, dataset.relations.ids
    return [(entities[h], relations[r], entities[t]) for h, r, t in dataset.split(split)]


@pytest.mark.parametrize("form", ["{}\t{}\t{}\n", "{} {} {} .\n", "{} {} {} .\r\n"])
def test_the_forms_of_names_give_the_same_triples(tmp_path, form):
    dataset = load_dataset(write_names(tmp_path / "graph", form=form))
    assert {split: names(dataset, split) for split in SPLITS} == SPLITS


def test_n_triples_may_be_separated_by_tabs(tmp_path):
    splits = {split: [(f"<{h}>", f"<{r}>", f"<{t}>") for h, r, t in [("a", "r", "b")]] for split in SPLITS}
    assert names(load_dataset(write_names(tmp_path, splits, "{}\t{}\t{}\t.\n")), "train") == [("<a>", "<r>", "<b>")]


@pytest.mark.parametrize("form", ["{} {} {} .\n", "{}\t{}\t{}\t.\n"])
def test_names_in_brackets_may_hold_blanks(tmp_path, form):
    splits = {split: [("<New York>", "<is in>", "<U S A>"), ("<New York>", "r", "b")] for split in SPLITS}
    assert names(load_dataset(write_names(tmp_path, splits, form)), "train") == splits["train"]


def test_a_tab_separated_name_may_end_in_a_dot(tmp_path):
    splits = {split: [("a b", "r", "c ."), ("c .", "r", "."), ("<a b>", "r", "<c .>")] for split in SPLITS}
    assert names(load_dataset(write_names(tmp_path, splits)), "train") == splits["train"]


@pytest.mark.parametrize("header", [True, False])
def test_openke_numbers_become_names_and_columns_are_put_in_order(tmp_path, header):
    dataset = load_dataset(write_openke(tmp_path / "graph", header=header))
    assert {split: names(dataset, split) for split in SPLITS} == SPLITS
    assert dataset.entities.ids == sorted(dataset.entities.ids)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1).filter(
    lambda name: name == name.strip() and not name.isdecimal()
)


@settings(max_examples=60)
@given(triples=st.lists(st.tuples(NAMES, NAMES, NAMES), min_size=1, max_size=6))
def test_openke_gives_what_tab_separated_names_give(tmp_path_factory, triples):
    folder = tmp_path_factory.mktemp("graphs")
    splits = dict.fromkeys(SPLITS, triples)
    one, other = load_dataset(write_names(folder / "a", splits)), load_dataset(write_openke(folder / "b", splits))
    assert names(one, "test") == names(other, "test") == triples
    assert one.entities.ids == other.entities.ids


def test_a_folder_with_both_is_read_by_its_names(tmp_path):
    write_openke(tmp_path, {split: [("x", "y", "z")] for split in SPLITS})
    assert names(load_dataset(write_names(tmp_path)), "train") == SPLITS["train"]


def test_an_openke_folder_is_found_by_name_and_checked_with_its_own_lines(tmp_path, monkeypatch):
    folder = write_openke(tmp_path / "numbers", SPLITS | {"train": [*SPLITS["train"], ("C", "s", "C")]})
    monkeypatch.setenv("MMRNS_DATA", str(tmp_path))
    assert folder in known_datasets()
    found = {finding.code: finding for finding in check_dataset(load_dataset("numbers")) if finding.where != "entities"}
    assert found["split-overlap"].where == "test2id.txt"
    assert found["split-overlap"].examples == ["test2id.txt:3: (C, s, C)"]


def spoil(path, line, text):
    lines = path.read_text().split("\n")
    lines[line - 1 : line] = text
    path.write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("file", "line", "text", "message"),
    [
        ("train2id.txt", 1, ["3"], r"train2id\.txt:1: says 3 triples, and 2 follow"),
        ("train2id.txt", 1, [], r"train2id\.txt:1: not the number of triples"),
        ("train2id.txt", 2, ["0 1"], r"train2id\.txt:2: not three numbers; write HEAD TAIL RELATION"),
        ("train2id.txt", 3, ["1 2 x"], r"train2id\.txt:3: not three numbers"),
        ("train2id.txt", 3, ["1 -2 1"], r"train2id\.txt:3: not three numbers"),
        ("train2id.txt", 3, ["1 1 99999999999999999999"], r"train2id\.txt:3: a number beyond 64 bits; write HEAD TAIL"),
        ("train2id.txt", 3, ["1 1 " + "9" * 5000], r"train2id\.txt:3: a number beyond 64 bits"),
        ("train2id.txt", 3, ["1 3 1"], r"train2id\.txt:3: entity 3 of 3; the order is HEAD TAIL RELATION"),
        ("train2id.txt", 3, ["1 1 2"], r"train2id\.txt:3: relation 2 of 2; the order is HEAD TAIL RELATION"),
        ("entity2id.txt", 1, ["4"], r"entity2id\.txt:1: says 4 names, and 3 follow"),
        ("entity2id.txt", 2, ["lonely"], r"entity2id\.txt:2: not a name and its number"),
        ("entity2id.txt", 2, ["A 7"], r"entity2id\.txt:2: number 7 with 3 names; count from 0 without a gap"),
        ("entity2id.txt", 3, ["B 0"], r"entity2id\.txt:3: number 0 is given twice"),
        ("entity2id.txt", 3, ["<http://a.org/A> 1"], r"entity2id\.txt:3: '<http://a\.org/A>' stands in line 2 too"),
        ("relation2id.txt", None, None, r"relation2id\.txt: missing; add it"),
        ("test2id.txt", None, None, r"test2id\.txt: missing; a dataset folder needs train2id\.txt, valid2id\.txt and"),
    ],
)
def test_faults_of_openke_files_are_named(tmp_path, file, line, text, message):
    folder = write_openke(tmp_path)
    if line is None:
        (folder / file).unlink()
    else:
        spoil(folder / file, line, text)
    with pytest.raises(UserError, match=message) as error:
        load_dataset(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("form", "line", "text", "message"),
    [
        ("{} {} {} .\n", 2, ["a\tb\tc"], r"train\.txt:2: not `head relation tail \.` as line 1 is; write one form"),
        ("{} {} {} .\n", 2, ["a b c"], r"train\.txt:2: not `head relation tail \.` as line 1 is"),
        ("{} {} {} .\n", 2, ["<a b> c ."], r"train\.txt:2: not `head relation tail \.` as line 1 is"),
        ("{} {} {} .\n", 2, ["a b c d ."], r"train\.txt:2: not `head relation tail \.` as line 1 is"),
        ("{} {} {} .\n", 2, [""], r"train\.txt:2: not `head relation tail \.` as line 1 is"),
        ("{}\t{}\t{}\n", 2, ["a b c ."], r"train\.txt:2: `head relation tail \.`, and line 1 is not; write one form"),
    ],
)
def test_mixed_forms_in_a_file_are_refused(tmp_path, form, line, text, message):
    folder = write_names(tmp_path, form=form)
    spoil(folder / "train.txt", line, text)
    with pytest.raises(UserError, match=message):
        load_dataset(folder)


def test_n_triples_that_are_not_utf8_are_refused(tmp_path):
    folder = write_names(tmp_path, form="{} {} {} .\n")
    (folder / "valid.txt").write_bytes(b"a r b .\na r \xff .\n")
    with pytest.raises(UserError, match=r"valid\.txt:2: not UTF-8 \(byte 0xff\)"):
        load_dataset(folder)


def test_splits_in_two_forms_are_refused(tmp_path):
    folder = write_names(write_openke(tmp_path))
    (folder / "valid.txt").unlink()
    (folder / "train2id.txt").unlink()
    with pytest.raises(UserError, match=r"train\.txt and valid2id\.txt: two formats, and neither has all of train, va"):
        load_dataset(folder)


def test_names_may_be_numbered_without_their_count(tmp_path):
    path = tmp_path / "entity2id.txt"
    path.write_text("organic compound\t1\nfreon 0\n")
    assert read_names(path) == ["freon", "organic compound"]
