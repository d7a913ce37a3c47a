"""Using a trained run: load, evaluate, predict, list, and the Python API."""

import json
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import torch

import mmrns
from mmrns import Config, evaluate, load, load_dataset, train
from mmrns.cli import main
from mmrns.errors import UserError
from mmrns.graph.answers import HEAD, TAIL
from mmrns.plugins import choices
from mmrns.scoring import ScoringFunction
from tests.tiny import ENTITIES, SHORT_RUN


@pytest.fixture(scope="module")
def trained(finished_run):
    return load(finished_run)


@pytest.fixture(scope="module")
def dataset(tiny_graph):
    return load_dataset(tiny_graph)


def answered_in(dataset, anchor, relation, direction):
    """id -> split, by reading the triples."""
    known = {}
    for split in ("test", "valid", "train"):
        for head, r, tail in dataset.split(split).tolist():
            given, answer = (head, tail) if direction == TAIL else (tail, head)
            if (given, r) == (anchor, relation):
                known[dataset.entities.ids[answer]] = split
    return known


def test_predictions_are_the_models_scores_in_order(trained):
    for direction, ends in ((TAIL, {"head": "e07"}), (HEAD, {"tail": "e07"})):
        with torch.no_grad():
            scores = trained.model.score_all(torch.tensor([7]), torch.tensor([2]), direction)[0]
        answers = trained.predict(**ends, relation="r2", k=ENTITIES)
        assert [answer.rank for answer in answers] == list(range(1, ENTITIES + 1))
        assert [answer.score for answer in answers] == scores.sort(descending=True).values.tolist()
        for answer in answers:
            row = trained.entities.row[answer.id]
            assert answer.score == scores[row].item()
            assert answer.label == trained.entities.labels[row]
            assert answer.known is None


def test_the_two_directions_ask_different_questions(trained):
    tails = [answer.id for answer in trained.predict(head="e07", relation="r2")]
    heads = [answer.id for answer in trained.predict(tail="e07", relation="r2")]
    assert tails != heads


@pytest.mark.parametrize(("direction", "end"), [(TAIL, "head"), (HEAD, "tail")])
def test_known_answers_are_marked_by_their_split(trained, dataset, direction, end):
    splits = set()
    for split in ("train", "valid", "test"):
        head, relation, tail = dataset.split(split)[0].tolist()
        anchor = head if direction == TAIL else tail
        answers = trained.predict(
            **{end: dataset.entities.ids[anchor]}, relation=f"r{relation}", k=ENTITIES, dataset=dataset
        )
        marked = {answer.id: answer.known for answer in answers if answer.known}
        assert marked == answered_in(dataset, anchor, relation, direction)
        splits |= set(marked.values())
    assert splits == {"train", "valid", "test"}


def test_labels_serve_as_well_as_ids_and_case_does_not_matter(trained):
    by_id = trained.predict(head="e07", relation="r2")
    assert trained.predict(head="thing 7", relation="RELATED 2") == by_id


def test_k_may_exceed_the_graph(trained):
    assert len(trained.predict(head="e07", relation="r2", k=1000)) == ENTITIES


def test_an_ambiguous_label_names_the_ids(trained):
    with pytest.raises(UserError, match=r"^--tail The Twin: 2 share this label; give an id instead: e58, e59$"):
        trained.predict(tail="The Twin", relation="r2")
    assert trained.predict(tail="e58", relation="r2")


def test_a_dataset_with_other_entities_is_refused(trained, tiny_graph, tmp_path):
    other = shutil.copytree(tiny_graph, tmp_path / "other")
    (other / "train.txt").write_text((other / "train.txt").read_text().replace("e30", "zzz"))
    with pytest.raises(UserError, match="was trained on other entity names"):
        trained.predict(head="e07", relation="r2", dataset=load_dataset(other))


def test_predict_prints_what_python_returns(trained, dataset, finished_run, capsys):
    expected = trained.predict(tail="e07", relation="r2", k=3, dataset=dataset)
    argv = ["predict", str(finished_run), "--tail", "Thing 7", "--relation", "r2", "-k", "3"]
    assert main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [vars(answer) for answer in expected]
    assert main(argv) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 3
    for row, answer in zip(rows, expected, strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells == [str(answer.rank), answer.label, answer.id, f"{answer.score:.3f}", answer.known or "new"]


def test_predict_works_without_the_graph_and_says_so(finished_run, tiny_graph, tmp_path, capsys):
    run = shutil.copytree(finished_run, tmp_path / "run")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(tiny_graph), "/nowhere/tiny"))
    assert main(["predict", str(run), "--head", "e07", "--relation", "r2", "-k", "2"]) == 0
    written = capsys.readouterr()
    assert re.fullmatch(r"known answers are not marked: --dataset /nowhere/tiny: no such dataset.*\n", written.err)
    assert [row.split("|")[-2].strip() for row in written.out.splitlines()[2:]] == ["?", "?"]


def test_a_run_moves_with_its_folder(finished_run, trained, tmp_path):
    moved = load(shutil.copytree(finished_run, tmp_path / "moved"))
    assert moved.predict(head="e07", relation="r2") == trained.predict(head="e07", relation="r2")


def test_loading_needs_no_state_and_gives_the_selected_step_on_the_cpu(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("state.pt", "tensorboard"))
    found = load(str(run))
    assert found.step == json.loads((run / "metrics.json").read_text())["selection"]["step"]
    assert not found.model.training
    assert {p.device.type for p in found.model.parameters()} == {"cpu"}


@pytest.mark.parametrize("split", ["valid", "test"])
def test_evaluate_repeats_the_metrics_and_ranks_of_the_run(finished_run, tmp_path, capsys, split):
    run = shutil.copytree(finished_run, tmp_path / "run")
    name = "ranks.parquet" if split == "test" else "ranks-valid.parquet"
    (run / name).unlink()
    recorded = json.loads((run / "metrics.json").read_text())[split]
    assert main(["evaluate", str(run), "--split", split, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == recorded == evaluate(run, split)
    pd.testing.assert_frame_equal(pd.read_parquet(run / name), pd.read_parquet(finished_run / name), check_exact=True)
    assert main(["evaluate", str(run), "--split", split]) == 0
    assert f"{recorded['both']['mrr']:.4f}" in capsys.readouterr().out


def test_evaluate_takes_what_load_gave_and_refuses_other_splits(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    assert evaluate(load(run)) == json.loads((run / "metrics.json").read_text())["test"]
    for split in ("dev", "train"):
        with pytest.raises(UserError, match=f"^split {split}: give valid or test$"):
            evaluate(run, split)


def test_predict_takes_a_dataset_by_name(trained, dataset, tiny_graph, monkeypatch):
    expected = trained.predict(head="e07", relation="r2", k=ENTITIES, dataset=dataset)
    assert any(answer.known for answer in expected)
    monkeypatch.setenv("MMRNS_DATA", str(tiny_graph.parent))
    for name in (tiny_graph, str(tiny_graph), tiny_graph.name):
        assert trained.predict(head="e07", relation="r2", k=ENTITIES, dataset=name) == expected
    with pytest.raises(UserError, match=r"^nowhere: no such dataset"):
        trained.predict(head="e07", relation="r2", dataset="nowhere")


def test_the_python_interface_does_what_the_command_does(finished_run, tiny_graph, tmp_path):
    options = {name.replace("-", "_"): value for name, value in SHORT_RUN.items()}
    metrics = train(Config(dataset=str(tiny_graph), sampler="mmrns", output=str(tmp_path / "run"), **options))
    recorded = json.loads((finished_run / "metrics.json").read_text())
    assert (metrics["test"], metrics["valid"]) == (recorded["test"], recorded["valid"])
    assert evaluate(tmp_path / "run") == metrics["test"]


def test_runs_in_one_process_do_not_share_their_precision(tiny_graph, tmp_path):
    options = {name.replace("-", "_"): value for name, value in SHORT_RUN.items()} | {"log_every": 1, "steps": 2}
    losses = []
    for number, precision in enumerate(("no", "bf16", "no")):
        run = tmp_path / str(number)
        train(Config(dataset=str(tiny_graph), precision=precision, output=str(run), **options))
        history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
        losses.append([line["train/loss"] for line in history if "train/loss" in line])
    assert losses[0] == losses[2] != losses[1]


def test_what_the_package_offers():
    assert set(mmrns.__all__) == {"Config", "TrainedModel", "evaluate", "load", "load_dataset", "train"}
    assert all(callable(getattr(mmrns, name)) for name in mmrns.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mmrns.nothing


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("models", {"transe", "rotate", "pairre", "distmult", "complex"}),
        ("samplers", {"mmrns", "uniform"}),
        ("losses", {"kgc_loss", "contrastive_loss"}),
        ("datasets", {"tiny"}),
    ],
)
def test_list_names_and_explains_the_choices(tiny_graph, monkeypatch, capsys, what, names):
    monkeypatch.setenv("MMRNS_DATA", str(tiny_graph.parent))
    assert main(["list", what, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert names <= set(listed)
    assert all(len(explanation) > 3 for explanation in listed.values())
    assert main(["list", what]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [list(entry) for entry in listed.items()]


def test_list_has_nothing_to_say_of_a_choice_without_a_docstring(monkeypatch, capsys):
    monkeypatch.setattr(choices("mmrns.scoring", ScoringFunction)["transe"], "__doc__", None)
    assert main(["list", "models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["transe"] == "" and len(listed["rotate"]) > 3


def test_both_doors_open(tmp_path):
    """The console script's target as a module, in a process of its own."""
    argv = [sys.executable, "-m", "mmrns", "train", "--resume", "nowhere"]
    found = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (2, "")
    assert re.fullmatch(r"mmrns train: nowhere: not a run folder .*\n", found.stderr)
