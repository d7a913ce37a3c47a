"""Several processes train and rank as one does: two real ones, joined by gloo on the CPU."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys

import pandas as pd
import pytest
import torch

from mmrns import evaluate
from mmrns.cli import main
from mmrns.training import optimizer
from tests.tiny import train_command
from tests.training import stopped

# The negatives are fixed, so that gradients can be compared; two processes share a batch of 15 as 8 and 7.
COMPARABLE = {
    "sampler": "tests.training.fixed_negatives:FixedNegatives", "model": "distmult", "batch-size": 15, "steps": 20,
    "schedule": "constant", "subsampling": False, "relation-group": 2,
}  # fmt: skip


def command(graph, folder, **options):
    return train_command(graph, folder, **COMPARABLE, **options)


@pytest.fixture(scope="module")
def folders(tiny_graph, tmp_path_factory):
    """Runs of one process and of two, 20 steps long, and one of 30 steps. Nobody writes into them."""
    folder = tmp_path_factory.mktemp("together")
    assert stopped.together(command(tiny_graph, folder / "two"), folder) == [0, 0], (folder / "err0").read_text()
    assert main(command(tiny_graph, folder / "one")) == 0
    assert main([*command(tiny_graph, folder / "long"), "--steps", "30"]) == 0
    return folder


def assert_same_course(run, other):
    """Equal but for the order of sums: parameters, and the checkpoint that was selected."""
    states = [torch.load(folder / "state.pt", weights_only=True) for folder in (run, other)]
    assert states[0]["progress"]["step"] == states[1]["progress"]["step"]
    for name, tensor in states[0]["objective"].items():
        torch.testing.assert_close(tensor, states[1]["objective"][name], rtol=1e-3, atol=1e-4)
    assert metrics(run)["selection"] == metrics(other)["selection"]
    assert metrics(run)["test"]["both"]["mrr"] == pytest.approx(metrics(other)["test"]["both"]["mrr"], abs=1e-2)


def metrics(run):
    return json.loads((run / "metrics.json").read_text())


def ranks(run, split="test"):
    return pd.read_parquet(run / ("ranks.parquet" if split == "test" else f"ranks-{split}.parquet"))


@pytest.mark.parametrize(("sparse", "status"), [("always", 2), ("never", 0)])
def test_a_launchers_only_process_trains_and_refuses_a_sparse_table(tiny_graph, tmp_path, sparse, status):
    alone = command(tiny_graph, tmp_path / "run", sparse=sparse)
    assert stopped.together(alone, tmp_path, number=1) == [status], (tmp_path / "err0").read_text()
    told = "--sparse always: what torchrun or accelerate started cannot; use --sparse never"
    assert (told in (tmp_path / "err0").read_text()) == (sparse == "always")


@pytest.mark.parametrize("split", ["valid", "test"])
def test_ranks_and_metrics_of_two_processes_are_those_of_one(folders, tmp_path, split):
    run = shutil.copytree(folders / "two", tmp_path / "run")
    by_two = ranks(run, split)
    assert evaluate(run, split) == metrics(run)[split]
    pd.testing.assert_frame_equal(ranks(run, split), by_two, check_exact=True)


def test_evaluate_shares_the_queries_too(folders, tmp_path):
    run = shutil.copytree(folders / "one", tmp_path / "run")
    (run / "ranks.parquet").unlink()
    assert stopped.together(["evaluate", str(run)], tmp_path) == [0, 0], (tmp_path / "err0").read_text()
    pd.testing.assert_frame_equal(ranks(run), ranks(folders / "one"), check_exact=True)


def test_two_processes_take_the_steps_of_one(folders):
    assert_same_course(folders / "two", folders / "one")


def test_one_process_alone_writes(folders):
    names = [sorted(path.name for path in (folders / run).iterdir()) for run in ("one", "two")]
    assert names[0] == names[1]
    lines = [(folders / run / "history.jsonl").read_text().splitlines() for run in ("one", "two")]
    assert len(lines[0]) == len(lines[1])


def test_a_run_of_two_goes_on_alone(folders, tmp_path):
    run = shutil.copytree(folders / "two", tmp_path / "run")
    assert main(["train", "--resume", str(run), "--steps", "30"]) == 0
    assert_same_course(run, folders / "long")


def test_a_run_of_one_goes_on_in_two(folders, tmp_path):
    run = shutil.copytree(folders / "one", tmp_path / "run")
    assert stopped.together(["train", "--resume", str(run), "--steps", "30"], tmp_path) == [0, 0]
    assert_same_course(run, folders / "long")


def test_two_go_on_in_two_to_the_same_bits(tiny_graph, tmp_path):
    options = {"model": "tests.training.dropping:Dropping", "schedule": "constant"}
    whole, run = tmp_path / "whole", tmp_path / "run"
    for folder, steps in ((whole, 20), (run, 10)):
        argv = train_command(tiny_graph, folder, "mmrns", **options, steps=steps)
        assert stopped.together(argv, tmp_path) == [0, 0], (tmp_path / "err0").read_text()
    assert stopped.together(["train", "--resume", str(run), "--steps", "20"], tmp_path) == [0, 0]
    states = [torch.load(folder / "state.pt", weights_only=True)["objective"] for folder in (whole, run)]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert metrics(run)["test"] == metrics(whole)["test"]


def with_a_small_table_as_a_large_one(argv):
    optimizer._LARGE_TABLE = 1
    sys.exit(main(argv))


def test_a_run_with_a_large_table_goes_on_in_two_and_alone_again(folders, tiny_graph, tmp_path, monkeypatch):
    """One process updates the rows that a step uses, several update all; Adam's moments go from one to the other."""
    monkeypatch.setattr(optimizer, "_LARGE_TABLE", 1)
    run = tmp_path / "run"
    assert main([*command(tiny_graph, run), "--steps", "10"]) == 0
    assert "parts" in torch.load(run / "state.pt", weights_only=True)["optimizer"]
    longer = functools.partial(with_a_small_table_as_a_large_one, ["train", "--resume", str(run), "--steps", "20"])
    assert stopped.call_together(longer) == [0, 0]
    assert "parts" not in torch.load(run / "state.pt", weights_only=True)["optimizer"]
    assert main(["train", "--resume", str(run), "--steps", "30"]) == 0
    table = "model.entities.table"
    tables = [torch.load(path / "state.pt", weights_only=True)["objective"][table] for path in (run, folders / "long")]
    # Rows that a step does not use rest where all would have moved on a little.
    assert torch.nn.functional.cosine_similarity(tables[0].flatten(), tables[1].flatten(), 0) > 0.99


def test_a_signal_to_one_process_stops_all_at_one_step(tiny_graph, tmp_path):
    run = tmp_path / "run"
    children = stopped.start_together([*command(tiny_graph, run), "--steps", "500"], tmp_path, report=True)
    second, reports = children[1]
    while reports.recv() < 5:
        pass
    os.kill(second.pid, signal.SIGTERM)
    assert stopped.statuses(children) == [2, 2]
    step = torch.load(run / "state.pt", weights_only=True)["progress"]["step"]
    assert 5 <= step < 500
    for index in range(2):
        assert f"stopped at step {step} as asked" in (tmp_path / f"err{index}").read_text()


def test_more_processes_than_triples_in_a_batch_are_refused(tiny_graph, tmp_path):
    argv = train_command(tiny_graph, tmp_path / "run", batch_size=1)
    assert stopped.together(argv, tmp_path) == [2, 2]
    assert "--batch-size 1: 2 processes share a batch; make it larger" in (tmp_path / "err0").read_text()
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_torchrun_launches_both_commands(folders, tiny_graph, tmp_path):
    run = tmp_path / "run"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mmrns"]
    subprocess.run([*launch, *command(tiny_graph, run)], check=True, timeout=300)
    assert_same_course(run, folders / "one")
    by_train = ranks(run)
    told = subprocess.run([*launch, "evaluate", str(run), "--json"], check=True, timeout=300, capture_output=True)
    assert json.loads(told.stdout) == metrics(run)["test"] == evaluate(run)
    pd.testing.assert_frame_equal(ranks(run), by_train, check_exact=True)
