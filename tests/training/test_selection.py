"""Runs that select on a slice held out of train, and runs that select nothing."""

import json
import shutil

import pandas as pd
import pytest
from safetensors import safe_open

from mmrns import evaluate, load
from mmrns.cli import main
from mmrns.config_io import load_config
from mmrns.graph.held_out import dataset_of, slice_sha256
from tests.tiny import train_command


@pytest.fixture(scope="module")
def broken_graph(tiny_graph, tmp_path_factory):
    """The tiny graph with a valid.txt that is a part of train, one line of test and one clean one."""
    folder = shutil.copytree(tiny_graph, tmp_path_factory.mktemp("data") / "broken")
    lines = {split: (folder / f"{split}.txt").read_text().splitlines(True) for split in ("train", "valid", "test")}
    (folder / "valid.txt").write_text("".join(lines["train"][:20] + lines["test"][:1] + lines["valid"][:1]))
    return folder


@pytest.fixture(scope="module")
def broken_run(broken_graph, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "broken"
    assert main(train_command(broken_graph, folder, held_out=30)) == 0
    return folder


def read(run):
    return json.loads((run / "metrics.json").read_text())


def triples_of(table):
    return set(zip(table["head"], table["relation"], table["tail"], strict=True))


def test_a_run_on_a_broken_valid_says_so_and_selects_on_the_slice(broken_graph, tmp_path, capsys):
    command = train_command(broken_graph, tmp_path / "run", held_out=30)
    assert main(command) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "broken (" in line]
    assert len(said) == 1
    assert "valid.txt: broken (22 rows, 22 distinct triples: 20 (90.9 %) lie in train" in said[0]
    metrics = read(tmp_path / "run")
    assert metrics["selection"]["rule"] == "best"
    assert metrics["selection"]["split"] == "held-out"
    assert metrics["protocol"]["validation"] == "held-out"
    dataset = dataset_of(load_config({}, tmp_path / "run/config.yaml"))
    assert metrics["protocol"]["held_out"] == {"triples": 30, "seed": 0, "sha256": slice_sha256(dataset)}


def test_its_files_hold_one_split(broken_graph, broken_run, tmp_path):
    lines = {
        split: {tuple(line.split("\t")) for line in (broken_graph / f"{split}.txt").read_text().splitlines()}
        for split in ("train", "valid", "test")
    }
    ranked = pd.read_parquet(broken_run / "ranks-valid.parquet")
    held = triples_of(ranked)
    assert len(held) == 30 and held <= lines["train"] and len(ranked) == 60
    assert triples_of(pd.read_parquet(broken_run / "ranks.parquet")) == lines["test"]
    assert load_config({}, broken_run / "config.yaml").validation == "held-out"
    # `evaluate` finds the same split, and the same numbers, even after valid.txt was mended.
    copy = shutil.copytree(broken_run, tmp_path / "copy")
    before = (broken_graph / "valid.txt").read_text()
    try:
        (broken_graph / "valid.txt").write_text(before.splitlines(True)[-1])
        assert evaluate(copy, "valid")["both"] == read(broken_run)["valid"]["both"]
    finally:
        (broken_graph / "valid.txt").write_text(before)
    assert triples_of(pd.read_parquet(copy / "ranks-valid.parquet")) == held


def test_what_is_known_of_it_is_all_that_is_known(broken_graph, broken_run):
    """Ranks are filtered by train, the slice, valid.txt and test, and `predict` marks the slice as valid."""
    dataset = dataset_of(load(broken_run).config)
    ranked = pd.read_parquet(broken_run / "ranks.parquet")
    known = set()
    for split in ("train", "valid", "test"):
        known |= {tuple(line.split("\t")) for line in (broken_graph / f"{split}.txt").read_text().splitlines()}
    for row in ranked[ranked["direction"] == "tail"].itertuples():
        others = {t for h, r, t in known if (h, r) == (row.head, row.relation)} - {row.tail}
        assert row.candidates == len(dataset.entities) - len(others)
    head, relation, tail = (names.ids[row] for names, row in zip(
        (dataset.entities, dataset.relations, dataset.entities), dataset.valid[0], strict=True
    ))  # fmt: skip
    answers = load(broken_run).predict(head=head, relation=relation, k=60, dataset=dataset)
    assert next(answer.known for answer in answers if answer.id == tail) == "valid"


def test_a_resumed_run_keeps_its_slice(broken_graph, broken_run, tmp_path):
    run = tmp_path / "run"
    assert main(train_command(broken_graph, run, held_out=30, steps=10, schedule="constant", warmup_steps=0)) == 0
    assert main(["train", "--resume", str(run), "--steps", "30"]) == 0
    whole = tmp_path / "whole"
    assert main(train_command(broken_graph, whole, held_out=30, schedule="constant", warmup_steps=0)) == 0
    for key in ("selection", "protocol", "valid", "test"):
        assert read(run)[key] == read(whole)[key]


@pytest.mark.parametrize("options", [{"protocol": "published"}, {"selection": "last"}])
def test_the_last_weights_of_a_run_on_all_of_train(broken_graph, tmp_path, capsys, options):
    run = tmp_path / "run"
    assert main(train_command(broken_graph, run, **options)) == 0
    assert "broken (" not in capsys.readouterr().err
    metrics = read(run)
    assert metrics["selection"] == {"rule": "last", "split": "none", "metric": "none", "step": 30}
    assert metrics["protocol"]["name"] == options.get("protocol", "own")
    assert metrics["protocol"]["validation"] == "published"
    with safe_open(run / "model.safetensors", framework="pt") as stored:
        assert stored.metadata() == {"step": "30"}
    assert metrics["valid"]["both"]["count"] == 44
    assert len(dataset_of(load(run).config).train) == 242


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "published", "selection": "best"}, "--protocol published: goes with --selection last"),
        ({"selection": "last", "patience": 2}, "--patience 2: stops where valid says so"),
        ({"held_out": 240}, "--held-out 240: 240 of 242 distinct train triples"),
        ({"held_out": 0}, "--held-out: input should be greater than 0"),
        ({"validation": "none"}, "--validation: input should be 'auto', 'published' or 'held-out'"),
    ],
)
def test_options_that_cannot_be_are_refused(broken_graph, tmp_path, capsys, options, message):
    assert main(train_command(broken_graph, tmp_path / "run", **options)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
