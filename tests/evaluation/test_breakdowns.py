"""evaluate_split: parts of a split, and the table from which each number can be had again."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from mmrns.evaluation import evaluate_split
from mmrns.features import FeatureStore
from mmrns.graph.dataset import load_dataset
from tests.evaluation.fixed_scores import FixedScores

CATEGORIES = ("1-1", "1-N", "N-1", "N-N")
METRICS = ("mrr", "mr", "amri", "hits@1", "hits@3", "hits@10")

# In train, the relations are what their names say; "x" and "y" are never seen there.
TRAIN = [
    ("a", "1-1", "b"), ("c", "1-1", "d"),
    ("a", "1-N", "b"), ("a", "1-N", "c"), ("a", "1-N", "d"),
    ("b", "N-1", "a"), ("c", "N-1", "a"), ("d", "N-1", "a"),
    ("a", "N-N", "b"), ("a", "N-N", "c"), ("b", "N-N", "b"), ("b", "N-N", "c"),
]  # fmt: skip
TEST = [
    ("b", "1-1", "c"), ("a", "1-N", "x"), ("x", "N-1", "y"), ("d", "N-N", "a"), ("b", "N-N", "a"), ("c", "1-1", "a"),
]  # fmt: skip


@pytest.fixture
def dataset(tmp_path):
    for split, triples in (("train", TRAIN), ("valid", TEST[:1]), ("test", TEST)):
        (tmp_path / f"{split}.txt").write_text("".join("\t".join(triple) + "\n" for triple in triples))
    records = [{"id": "a", "label": "Anna", "images": ["a.png"], "texts": ["Anna."]}, {"id": "x", "images": ["x.png"]}]
    (tmp_path / "entities.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    for record in records:
        (tmp_path / record["images"][0]).touch()
    return load_dataset(tmp_path)


@pytest.fixture
def evaluated(dataset):
    return evaluate(dataset)


def evaluate(dataset, features=None):
    entities, relations = len(dataset.entities), len(dataset.relations)
    scores = np.random.default_rng(0).integers(0, 4, (2, relations, entities, entities)).astype(np.float32)
    return evaluate_split(FixedScores(torch.from_numpy(scores)), dataset, "test", dataset.answers(), features, 64)


def test_there_is_a_row_a_query_with_its_ids_head_queries_first(evaluated):
    _, table = evaluated
    assert table[["head", "relation", "tail"]].to_numpy().tolist() == [list(triple) for triple in TEST] * 2
    assert table["direction"].tolist() == ["head"] * 6 + ["tail"] * 6


def test_categories_are_judged_on_train(evaluated):
    _, table = evaluated
    assert (table["category"] == table["relation"]).all()


def test_seen_means_that_train_has_both_ends(evaluated):
    _, table = evaluated
    assert table["seen"].tolist() == [True, False, False, True, True, True] * 2


def test_has_image_and_has_text_are_about_the_answer(evaluated):
    _, table = evaluated
    answers = np.where(table["direction"] == "head", table["head"], table["tail"])
    assert table["has_image"].tolist() == [answer in ("a", "x") for answer in answers]
    assert table["has_text"].tolist() == [answer == "a" for answer in answers]


def test_a_picture_that_is_listed_and_not_there_is_none(dataset):
    (dataset.folder / "x.png").unlink()
    metrics, table = evaluate(dataset)
    answers = np.where(table["direction"] == "head", table["head"], table["tail"])
    assert table["has_image"].tolist() == [answer == "a" for answer in answers]
    assert metrics["has-image"]["count"] == (answers == "a").sum()


def test_features_win_over_what_the_records_list(dataset):
    mask = np.array([[entity == "b"] for entity in dataset.entities.ids])
    store = FeatureStore.write(dataset, {"image": (np.ones((len(mask), 1, 2), dtype=np.float32), mask)})
    _, table = evaluate(dataset, store)
    answers = np.where(table["direction"] == "head", table["head"], table["tail"])
    assert table["has_image"].tolist() == [answer == "b" for answer in answers]
    assert not table["has_text"].any()


@pytest.mark.parametrize(
    "parts",
    [("head", "tail"), CATEGORIES, ("seen", "unseen"), ("has-image", "no-image"), ("has-text", "no-text")],
    ids=lambda parts: parts[0],
)
def test_parts_partition_the_queries(evaluated, parts):
    metrics, table = evaluated
    assert metrics["both"]["count"] == len(table) == 2 * len(TEST)
    assert sum(metrics[part]["count"] for part in parts) == len(table)
    assert all(metrics[part]["count"] for part in parts)
    for name in ("mrr", "mr", "hits@1", "hits@3", "hits@10"):
        whole = sum(metrics[part][name] * metrics[part]["count"] for part in parts) / len(table)
        assert whole == pytest.approx(metrics["both"][name])


def rows_of(table, part):
    if part == "both":
        return table
    if part in ("head", "tail"):
        return table[table["direction"] == part]
    if part in CATEGORIES:
        return table[table["category"] == part]
    if part in ("seen", "unseen"):
        return table[table["seen"] == (part == "seen")]
    kind, modality = part.split("-")
    return table[table[f"has_{modality}"] == (kind == "has")]


def test_every_number_can_be_had_again_from_the_stored_table(evaluated, tmp_path):
    metrics, table = evaluated
    table.to_parquet(tmp_path / "ranks.parquet", index=False)
    stored = pd.read_parquet(tmp_path / "ranks.parquet")
    assert set(metrics) >= {"both", "head", "tail", *CATEGORIES, "seen", "unseen"}
    for part, found in metrics.items():
        rows = rows_of(stored, part)
        rank = (rows["optimistic"] + rows["pessimistic"]) / 2
        assert (rank == rows["rank"]).all()
        expected = {
            "mrr": (1 / rank).mean(),
            "mr": rank.mean(),
            "amri": 1 - (rank.mean() - 1) / (((rows["candidates"] + 1) / 2).mean() - 1),
            **{f"hits@{k}": (rank <= k).mean() for k in (1, 3, 10)},
        }
        assert found["count"] == len(rows) > 0
        assert {name: found[name] for name in METRICS} == pytest.approx(expected)


def test_other_known_answers_are_no_candidates(evaluated, dataset):
    _, table = evaluated
    everything = {*TRAIN, *TEST}
    for row in table.itertuples():
        place = 0 if row.direction == "head" else 2
        triple = (row.head, row.relation, row.tail)
        known = {other[place] for other in everything if all(other[i] == triple[i] for i in range(3) if i != place)}
        assert row.candidates == len(dataset.entities) - len(known) + 1
