"""Every finding on a small graph that has it, and none on one that has not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrns.graph import check, relatedness
from mmrns.graph.check import check_dataset, summarize
from mmrns.graph.dataset import load_dataset
from mmrns.graph.relatedness import related_relations, reversed_pairs

# A graph without anything to find: each entity of valid and test is in train, no relation mirrors another.
CLEAN = {
    "train": [("a", "r", "b"), ("b", "r", "c"), ("c", "s", "d"), ("d", "s", "a")],
    "valid": [("a", "r", "c")],
    "test": [("b", "s", "d")],
}


@pytest.fixture
def findings(write_dataset):
    """Findings of a dataset written from triples, as a list; `code` keeps those of one code."""

    def of(code, train, valid, test, records=None, relations=None):
        dataset = load_dataset(write_dataset(train, valid, test, records, relations))
        return [finding for finding in check_dataset(dataset) if finding.code == code]

    return of


def test_a_clean_graph_has_no_finding(write_dataset):
    assert check_dataset(load_dataset(write_dataset(**CLEAN))) == []


def test_checking_changes_no_file(write_dataset):
    folder = write_dataset([*CLEAN["train"], CLEAN["train"][0]], CLEAN["valid"], CLEAN["valid"], [{"id": "a"}])
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    assert check_dataset(load_dataset(folder))
    assert before == {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_every_check_is_registered_and_every_finding_says_what_to_do(write_dataset):
    assert len(check.CHECKS) == len(set(check.CHECKS)) >= 9
    folder = write_dataset(
        [("a ", "r", "b"), ("a ", "r", "b"), ("b", "r", "b")],
        [("a ", "r", "b")],
        [("x", "t", "B")],
        [{"id": "a ", "label": "A", "images": ["none.png"]}, {"id": "b", "label": "a"}, {"id": "idle"}],
    )
    found = check_dataset(load_dataset(folder))
    assert {finding.code for finding in found} == {
        "duplicate-triples", "split-overlap", "unseen-entities", "unseen-relations", "self-loops", "id-white-space",
        "ids-alike-but-case", "records-without-triple", "entities-without-record", "missing-images", "shared-labels",
    }  # fmt: skip
    for finding in found:
        assert "\n" not in finding.explanation
        assert "; " in finding.explanation
        assert finding.count > 0
        assert 0 < len(finding.examples) <= 5


def test_duplicates_name_the_line_that_is_repeated(findings):
    again = ("a", "r", "b")
    (found,) = findings("duplicate-triples", [again, ("b", "r", "c"), again, again], CLEAN["valid"], CLEAN["test"])
    assert (found.severity, found.where, found.count) == ("warning", "train.txt", 2)
    assert found.examples == ["train.txt:3 repeats line 1: (a, r, b)", "train.txt:4 repeats line 1: (a, r, b)"]
    assert found.figures == {"rows": 4, "distinct": 2}


def test_at_most_five_examples_are_shown_and_all_are_counted(findings):
    (found,) = findings("duplicate-triples", [("a", "r", "b")] * 9, CLEAN["valid"], CLEAN["test"])
    assert found.count == 8
    assert len(found.examples) == 5


def test_overlap_counts_rows_distinct_triples_and_what_is_clean(findings):
    train = [("a", "r", "b"), ("b", "r", "c"), ("c", "r", "a")]
    valid = [("a", "r", "b"), ("a", "r", "b"), ("b", "r", "c"), ("b", "r", "a"), ("c", "r", "b"), ("c", "r", "b")]
    test = [("a", "r", "c"), ("c", "r", "b")]
    of_valid, of_test = findings("split-overlap", train, valid, test)
    assert (of_valid.severity, of_valid.where, of_valid.count) == ("error", "valid.txt", 3)
    assert of_valid.figures == {
        "rows": 6, "distinct": 4, "in_train": 2, "rows_in_train": 3, "in_test": 1, "rows_in_test": 2,
        "clean": 1, "clean_share": 0.25, "broken": True,
    }  # fmt: skip
    assert of_valid.examples[0] == "valid.txt:1: (a, r, b)"
    assert of_valid.examples[-1] == "valid.txt:6: (c, r, b)"
    assert of_test.figures["in_valid"] == of_test.figures["clean"] == 1
    assert of_test.figures["in_train"] == 0
    assert "6 rows, 4 distinct triples: 2 (50.0 %) lie in train (3 rows)" in of_valid.explanation


def test_a_triple_in_all_three_splits_is_not_clean_once(findings):
    shared = [("a", "r", "b")]
    of_valid, of_test = findings("split-overlap", shared, shared, shared)
    assert of_valid.count == of_test.count == 1
    assert of_valid.figures["clean"] == 0


def chain(relation, number=10, swapped=False):
    """`number` triples (e0, relation, f0), (e1, relation, f1), … or the other way round."""
    pairs = [(f"e{i}", f"f{i}") for i in range(number)]
    return [(tail, relation, head) if swapped else (head, relation, tail) for head, tail in pairs]


def test_inverse_relations_are_found_with_their_leak(findings):
    train = chain("parent")[:9] + chain("child", swapped=True)[:8] + chain("other", 3)
    valid, test = chain("child", swapped=True)[8:9], chain("child", swapped=True)[9:] + chain("parent")[9:]
    (found,) = findings("inverse-relations", train, valid, test)
    assert (found.severity, found.count) == ("warning", 1)
    # valid's (f8, child, e8) has (e8, parent, f8) in train; test's two mirror each other and nothing in train.
    assert (found.figures["valid"], found.figures["test"]) == (1, 0)
    assert found.examples == ["child -> parent: 100.0% of 10 triples", "parent -> child: 100.0% of 10 triples"]


@pytest.mark.parametrize(("mirrored", "number"), [(8, 1), (7, 0)])
def test_relations_below_the_threshold_are_no_inverses(findings, mirrored, number):
    train = chain("parent") + chain("child", swapped=True)[:mirrored] + [("x", "child", f"y{i}") for i in range(9)]
    assert len(findings("inverse-relations", train, CLEAN["valid"], CLEAN["test"])) == number


def test_relations_of_few_triples_are_not_judged(findings):
    train = chain("parent", 9) + chain("child", 9, swapped=True)
    assert findings("inverse-relations", train, CLEAN["valid"], CLEAN["test"]) == []


def test_duplicate_relations_are_found_with_their_leak(findings):
    train, test = chain("plays for") + chain("is affiliated to")[:9], chain("is affiliated to")[9:]
    (found,) = findings("duplicate-relations", train, CLEAN["valid"], test)
    assert (found.severity, found.count, found.figures["test"], found.figures["valid"]) == ("warning", 1, 1, 0)


def test_symmetric_relations_are_a_note_with_their_leak(findings):
    train, test = chain("borders") + chain("borders", swapped=True)[:9], chain("borders", swapped=True)[9:]
    (found,) = findings("symmetric-relations", train, CLEAN["valid"], test)
    assert (found.severity, found.count, found.figures["test"]) == ("note", 1, 1)
    assert findings("inverse-relations", train, CLEAN["valid"], test) == []


def test_self_loops_do_not_make_a_relation_symmetric(findings):
    train = [(f"e{i}", "r", f"e{i}") for i in range(20)] + chain("r")
    assert findings("symmetric-relations", train, CLEAN["valid"], CLEAN["test"]) == []


triples_arrays = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=30, unique=True
).map(np.array)


@given(triples_arrays, st.booleans(), st.integers(1, 8))
def test_shares_of_relation_pairs_equal_a_plain_count_for_any_block(triples, swapped, block):
    pairs = {r: {(h, t) for h, q, t in triples.tolist() if q == r and h != t} for r in range(3)}
    expected = {}
    for first, second in np.ndindex(3, 3):
        other = {(t, h) for h, t in pairs[second]} if swapped else pairs[second]
        common = pairs[first] & other
        if common and (swapped or first != second):
            expected[first, second] = (len(common) / len(pairs[first]), len(pairs[first]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relatedness, "_BLOCK", block)
        found = list(related_relations(triples, 3, swapped))
    assert {(first, second): rest for first, second, *rest in found} == {k: list(v) for k, v in expected.items()}


@given(triples_arrays, triples_arrays, st.booleans(), st.sets(st.tuples(st.just(0), st.integers(0, 2)), min_size=1))
def test_leaks_equal_a_plain_count(queries, train, swapped, pairs):
    known = {tuple(triple) for triple in train.tolist()}
    either = pairs | {(second, first) for first, second in pairs}

    def answered(head, relation, tail):
        ends = (tail, head) if swapped else (head, tail)
        return any((ends[0], other, ends[1]) in known for one, other in either if one == relation)

    expected = sum(h != t and answered(h, r, t) for h, r, t in queries.tolist())
    assert reversed_pairs(queries, train, pairs, swapped) == expected


def test_unseen_entities_are_counted_by_triple_and_by_name(findings):
    test = [("a", "r", "new"), ("new", "r", "newer"), ("b", "r", "a"), ("a", "s", "c")]
    (found,) = findings("unseen-entities", CLEAN["train"], CLEAN["valid"], test)
    assert (found.severity, found.where, found.count) == ("warning", "test.txt", 2)
    assert found.figures == {"triples": 2, "share": 0.5, "entity": 2}
    assert found.examples == ["test.txt:1: (a, r, new)", "test.txt:2: (new, r, newer)"]


def test_unseen_relations_are_counted(findings):
    (found,) = findings("unseen-relations", CLEAN["train"], [("a", "novel", "c"), ("a", "r", "c")], CLEAN["test"])
    assert (found.severity, found.where, found.count) == ("warning", "valid.txt", 1)
    assert found.figures == {"triples": 1, "share": 0.5, "relation": 1}


def test_self_loops_are_a_note_a_split(findings):
    found = findings("self-loops", [*CLEAN["train"], ("a", "r", "a")], CLEAN["valid"], [("b", "r", "b")])
    assert [(one.severity, one.where, one.count) for one in found] == [
        ("note", "train.txt", 1),
        ("note", "test.txt", 1),
    ]
    assert found[0].examples == ["train.txt:5: (a, r, a)"]


def test_ids_with_white_space_around_them_are_quoted(findings):
    train = [*CLEAN["train"], ("a", "r\u00a0", " b")]
    of_entities, of_relations = findings("id-white-space", train, CLEAN["valid"], CLEAN["test"])
    assert of_entities.examples == ["train.txt:5: ' b'"]
    assert of_relations.examples == ["train.txt:5: 'r\\xa0'"]


@pytest.mark.parametrize(
    ("one", "other", "code"),
    [
        ("New York", "New  York", "ids-alike"),
        ("New York", "New York ", "ids-alike"),
        ("Caf\u00e9", "Cafe\u0301", "ids-alike"),
        ("Kiss", "KISS", "ids-alike-but-case"),
    ],
)
def test_ids_that_look_the_same_are_told_apart_by_what_differs(findings, one, other, code):
    train = [*CLEAN["train"], (one, "r", "a"), ("a", "r", other)]
    for asked in ("ids-alike", "ids-alike-but-case"):
        found = findings(asked, train, CLEAN["valid"], CLEAN["test"])
        assert [entry.count for entry in found] == ([1] if asked == code else [])
    (finding,) = findings(code, train, CLEAN["valid"], CLEAN["test"])
    assert repr(one) in finding.examples[0]
    assert repr(other) in finding.examples[0]
    assert "train.txt:5" in finding.examples[0]


def test_records_and_triples_are_compared_both_ways(findings):
    records = [{"id": name} for name in ("a", "b", "typo", "c")]
    (idle,) = findings("records-without-triple", **CLEAN, records=records)
    assert (idle.severity, idle.count, idle.examples) == ("note", 1, ["entities.jsonl:3: 'typo'"])
    (missing,) = findings("entities-without-record", **CLEAN, records=records)
    assert (missing.severity, missing.count, missing.examples) == ("warning", 1, ["train.txt:3: 'd'"])


def test_without_entities_jsonl_no_record_is_missed(findings):
    assert findings("entities-without-record", **CLEAN) == []


HEADER = ("head", "relation", "tail")


def headed(line, **splits):
    """The clean graph, a line before each split but for those that are given."""
    return {split: [line, *triples] for split, triples in CLEAN.items()} | splits


@pytest.mark.parametrize(
    "line", [HEADER, ("Subject", "PREDICATE", "Object"), ("h", "rel", "t"), ("# source", "property", "target")]
)
def test_titles_of_columns_that_were_read_as_a_triple_are_an_error(findings, line):
    (found,) = findings("header-line", **headed(line))
    assert (found.severity, found.where, found.count) == ("error", "train.txt, valid.txt, test.txt", 3)
    names = ", ".join(line)
    assert found.explanation == f"train.txt:1: looks like a header ({names}); remove the line from each file"
    assert found.examples == [f"{split}.txt:1: ({names})" for split in ("train", "valid", "test")]


def test_titles_in_one_file_are_found_too(findings):
    (found,) = findings("header-line", **(CLEAN | {"valid": [HEADER, *CLEAN["valid"]]}))
    assert (found.severity, found.where, found.examples) == (
        "error",
        "valid.txt",
        ["valid.txt:1: (head, relation, tail)"],
    )


def test_titles_whose_names_the_graph_uses_are_a_warning(findings):
    train = [("h", "r", "t"), ("t", "r", "h"), ("h", "r", "c")]
    (found,) = findings("header-line", train, [("t", "r", "c")], [("c", "r", "h")])
    assert (found.severity, found.where) == ("warning", "train.txt")
    assert found.explanation.endswith("remove the line from each file, unless it is a triple")


def test_a_first_line_of_all_files_whose_names_occur_nowhere_else_is_a_warning(findings):
    (found,) = findings("header-line", **headed(("von", "durch", "nach")))
    assert (found.severity, found.count) == ("warning", 3)
    assert "looks like a header (von, durch, nach)" in found.explanation


@pytest.mark.parametrize(
    "splits",
    [
        pytest.param(headed(("von", "durch", "nach"), test=CLEAN["test"]), id="not in every file"),
        pytest.param(headed(("von", "durch", "a")), id="a name of the graph"),
        pytest.param(headed(("von", "r", "nach")), id="a relation of the graph"),
        pytest.param(CLEAN | {"train": [*CLEAN["train"], HEADER]}, id="not in line 1"),
        pytest.param(headed(("head", "relation", "b")), id="titles in part"),
    ],
)
def test_other_first_lines_are_no_headers(findings, splits):
    assert findings("header-line", **splits) == []


def test_fields_that_are_not_read_are_a_note_a_file(findings):
    records = [
        {"id": "a", "description": "hello", "lable": "A"},
        {"id": "b", "label": "B", "type": "t", "texts": ["B."], "images": []},
        {"id": "c", "description": "c"},
    ]
    of_entities, of_relations = findings(
        "unknown-fields", **CLEAN, records=records, relations=[{"id": "r", "type": "x"}]
    )
    assert (of_entities.severity, of_entities.where, of_entities.count) == ("note", "entities.jsonl", 2)
    assert of_entities.explanation == (
        "fields that are not read: description (2 lines), lable (1 line); known are id, label, type, texts, images"
    )
    assert of_entities.examples == ["entities.jsonl:1: 'a': description, lable", "entities.jsonl:3: 'c': description"]
    assert of_relations.explanation == "fields that are not read: type (1 line); known are id, label"
    assert of_relations.examples == ["relations.jsonl:1: 'r': type"]


def test_fields_that_are_read_are_not_noted(findings):
    records = [{"id": "a", "label": "A", "type": "t", "texts": ["A."], "images": []}]
    assert findings("unknown-fields", **CLEAN, records=records, relations=[{"id": "r", "label": "R"}]) == []


def test_pictures_that_are_missing_or_outside_are_an_error(findings, tmp_path):
    inside = tmp_path / "images"
    inside.mkdir()
    (inside / "a.png").touch()
    (tmp_path.parent / "outside.png").touch()
    files = ["images/a.png", "images/../images/a.png", "images/none.png", "../outside.png", "images", "bad\0name"]
    (found,) = findings("missing-images", **CLEAN, records=[{"id": "b"}, {"id": "a", "images": files}])
    assert (found.severity, found.count, found.figures) == ("error", 4, {"listed": 6})
    assert found.examples[0] == "entities.jsonl:2: a: images/none.png: no such file"
    assert "lies outside" in found.examples[1]


def test_pictures_that_symbolic_links_lead_out_of_the_folder_are_an_error(findings, tmp_path, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "a.png").touch()
    (tmp_path / "images").symlink_to(elsewhere)
    (found,) = findings("missing-images", **CLEAN, records=[{"id": "a", "images": ["images/a.png"]}])
    assert found.examples == ["entities.jsonl:1: a: images/a.png: lies outside of the dataset folder"]


def test_a_picture_that_is_no_file_name_is_missing(findings, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    files = ["data:image/png;base64," + "A" * 5000, "loop/a.png"]
    (found,) = findings("missing-images", **CLEAN, records=[{"id": "a", "images": files}])
    assert found.count == 2
    assert found.examples[0].startswith("entities.jsonl:1: a: data:image/png;base64,AAA")
    assert len(found.examples[0]) < 200


def test_shared_labels_are_a_note_that_names_the_ids(findings):
    records = [{"id": "a", "label": "Same"}, {"id": "b", "label": "same"}, {"id": "c", "label": "d"}]
    (found,) = findings("shared-labels", **CLEAN, records=records)
    assert (found.severity, found.count) == ("note", 2)
    assert found.examples == ["Same: a, b", "d: c, d"]
    relations = [{"id": "r", "label": "knows"}, {"id": "s", "label": "knows"}]
    (found,) = findings("shared-labels", **CLEAN, relations=relations)
    assert found.examples == ["knows: r, s"]


def test_the_summary_counts_what_is_there(write_dataset):
    records = [{"id": "a", "label": "A", "images": ["a.png"], "texts": []}, {"id": "b", "texts": ["B."]}]
    train = [("a", "many", "b"), ("a", "many", "c"), ("a", "many", "c"), ("b", "one", "c")]
    found = summarize(load_dataset(write_dataset(train, [("a", "unseen", "b")], [("b", "one", "c")], records)))
    assert found == {
        "entities": 3,
        "relations": 3,
        "triples": {"train": 4, "valid": 1, "test": 1},
        "distinct_triples": {"train": 3, "valid": 1, "test": 1},
        "relation_categories": {"1-1": 1, "1-N": 1, "N-1": 0, "N-N": 0},
        "mean_degree": 2.0,
        "listed_entities": {"label": 1, "type": 0, "images": 1, "texts": 1},
    }


def test_ids_without_labels_share_none_even_if_only_case_tells_them_apart(findings):
    train = [*CLEAN["train"], ("Kiss", "r", "a"), ("a", "r", "KISS")]
    assert findings("shared-labels", train, CLEAN["valid"], CLEAN["test"]) == []
