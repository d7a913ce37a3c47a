"""What makes results one setting beside their options: the weights of members, the triples and the features."""

import json
import shutil

import pytest

from mmrns import load_dataset
from mmrns.experiments import results
from mmrns.features import FeatureStore
from mmrns.features.digests import file_sha256
from tests.experiments.test_reproduce import files_of, refuse, table
from tests.experiments.tiny_grid import reproduce, write_grid
from tests.tiny import tiny_features, write_tiny_features, write_tiny_graph

ENSEMBLE = """
title: A tiny table
groups: {tiny: {title: The tiny graph}}
rows:
  first: {config: tiny/base.yaml, set: {steps: 6, valid_every: 3}}
  second: {config: tiny/base.yaml, set: {model: distmult, steps: 6, valid_every: 3}}
  both: {members: [first, second], against: first}
"""
SEEDS = """
title: A tiny table
seeds: 2
groups: {tiny: {title: The tiny graph, needs: [image, text]}}
rows:
  uniform: {config: tiny/base.yaml, set: {steps: 6, valid_every: 3}}
  mmrns: {config: tiny/base.yaml, set: {sampler: mmrns, steps: 6, valid_every: 3}, against: uniform}
"""


@pytest.fixture
def ensemble(tiny_graph, tmp_path, in_this_process):
    """(grid file, runs folder) of two rows and their ensemble, run."""
    grid, runs = write_grid(tmp_path, tiny_graph, ENSEMBLE), tmp_path / "runs"
    assert reproduce(grid, runs) == 0
    return grid, runs


@pytest.fixture
def seeds(tmp_path, in_this_process):
    """(grid file, runs folder, graph) of two rows, of whose two seeds the first has been run."""
    graph = write_tiny_graph(tmp_path / "graph")
    write_tiny_features(graph)
    grid, runs = write_grid(tmp_path, graph, SEEDS), tmp_path / "runs"
    assert reproduce(grid, runs, "--seeds", 1) == 0
    return grid, runs, graph


def changed(file, change):
    """Rewrite a JSON file by a function that changes what it holds."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def members_of(folder):
    return json.loads((folder / "metrics.json").read_text())["members"]


def retrained(grid, runs, row, text):
    """Put the run of a row in the place of one that the grid's text, changed so, makes of it."""
    was = grid.read_text()
    grid.write_text(text)
    assert reproduce(grid, runs.parent / "elsewhere", "--only", f"tiny/{row}") == 0
    grid.write_text(was)
    shutil.copy(runs.parent / f"elsewhere/tiny/{row}/seed-0/model.safetensors", runs / f"tiny/{row}/seed-0")


def test_an_ensemble_is_ranked_anew_with_members_that_were_run_anew(ensemble):
    grid, runs = ensemble
    before = members_of(runs / "tiny/both/seed-0")
    grid.write_text(ENSEMBLE.replace("distmult", "complex"))
    assert reproduce(grid, runs, "--redo") == 0
    after = members_of(runs / "tiny/both/seed-0")
    assert after[0] == before[0] and after[1] != before[1]
    for row, member in zip(("first", "second"), after, strict=True):
        assert member["weights_sha256"] == file_sha256(runs / f"tiny/{row}/seed-0/model.safetensors")


def test_a_member_of_other_weights_is_told_without_redo(ensemble, capsys):
    grid, runs = ensemble
    retrained(grid, runs, "second", ENSEMBLE.replace("distmult", "distmult, learning_rate: 0.5"))
    before = files_of(runs)
    message = refuse(capsys, "reproduce", grid, "--runs", runs)
    assert "both/seed-0: was run with other weights of second than there are now; give --redo" in message
    assert reproduce(grid, runs, "--dry-run") == 0
    assert "tiny/both seed 0: differs (other weights of second than there are now)" in capsys.readouterr().out
    assert files_of(runs) == before
    # What an older version ranked does not say: it may be of these weights.
    changed(runs / "tiny/both/seed-0/metrics.json", lambda kept: [m.pop("weights_sha256") for m in kept["members"]])
    assert reproduce(grid, runs) == 0
    assert "weights_sha256" not in members_of(runs / "tiny/both/seed-0")[0]


def test_an_ensemble_outlives_its_members_and_their_return(ensemble, capsys):
    grid, runs = ensemble
    before = files_of(runs / "tiny/both")
    shutil.rmtree(runs / "tiny/second/seed-0")
    assert reproduce(grid, runs, "--only", "tiny/both", "tiny/first") == 0
    assert reproduce(grid, runs) == 0  # to the same weights
    assert files_of(runs / "tiny/both") == before
    # To others it is told at the end of the call that made them.
    shutil.rmtree(runs / "tiny/second/seed-0")
    changed(
        runs / "tiny/both/seed-0/metrics.json", lambda kept: kept["members"][1].update({"weights_sha256": "another"})
    )
    assert reproduce(grid, runs) == 2
    assert "1 of 3 runs failed; tiny/both seed 0: was run with other weights of second" in capsys.readouterr().err
    assert (runs / "tiny/second/seed-0/metrics.json").is_file()


def test_a_kept_ensemble_of_other_members_than_are_kept_is_not_counted(ensemble, tmp_path, capsys):
    grid, runs = ensemble
    kept = tmp_path / "results"
    _, rows = table(grid, runs, kept, capsys)
    assert rows["both"]["seeds"] == "1"
    second = kept / "tiny/tiny/second/seed-0/metrics.json"
    changed(second, lambda metrics: metrics.update(weights_sha256="another"))
    page, rows = table(grid, tmp_path / "none", kept, capsys)
    assert "Not counted: tiny/both seed 0 was run with other weights of second than there are now." in page
    assert (rows["both"]["state"], rows["second"]["seeds"]) == ("not run", "1")
    changed(second, lambda metrics: metrics.pop("weights_sha256"))  # as older versions kept it
    _, rows = table(grid, tmp_path / "none", kept, capsys)
    assert rows["both"]["seeds"] == "1"
    shutil.rmtree(second.parent)
    _, rows = table(grid, tmp_path / "none", kept, capsys)
    assert rows["both"]["seeds"] == "1"


def test_a_kept_ensemble_of_a_member_that_is_not_counted_is_not_either(ensemble, tmp_path, capsys):
    grid, runs = ensemble
    table(grid, runs, tmp_path / "results", capsys)
    grid.write_text(ENSEMBLE.replace("distmult", "complex"))
    page, rows = table(grid, tmp_path / "none", tmp_path / "results", capsys)
    assert "Not counted: tiny/both seed 0 was run with seed 0 of second, which is not counted." in page
    assert rows["both"]["state"] == rows["second"]["state"] == "not run"


def test_a_seed_of_other_features_is_not_counted_where_they_have_a_part(seeds, tmp_path, capsys):
    grid, runs, graph = seeds
    FeatureStore.write(load_dataset(graph), tiny_features(7), None)
    assert reproduce(grid, runs) == 0
    page, rows = table(grid, runs, tmp_path / "results", capsys)
    assert "Not counted: tiny/mmrns seed 1 was run with other features than seed 0." in page
    assert (rows["mmrns"]["seeds"], rows["uniform"]["seeds"]) == ("1", "2")
    changed(tmp_path / "results/tiny/tiny/mmrns/seed-0/metrics.json", lambda metrics: metrics.pop("features_sha256"))
    page, rows = table(grid, tmp_path / "none", tmp_path / "results", capsys)
    assert "Not counted" not in page and rows["mmrns"]["seeds"] == "2"


def test_a_seed_of_another_graph_is_not_counted(seeds, tmp_path, capsys):
    grid, runs, graph = seeds
    lines = (graph / "test.txt").read_text().splitlines(keepends=True)
    (graph / "test.txt").write_text("".join([*lines[:-2], lines[-1]]))
    assert reproduce(grid, runs, "--only", "tiny/uniform") == 0
    page, rows = table(grid, runs, tmp_path / "results", capsys)
    assert "Not counted: tiny/uniform seed 1 was run with other triples than seed 0." in page
    assert rows["uniform"]["seeds"] == "1"
    # Older results do not say, but their queries do.
    kept = tmp_path / "results/tiny/tiny/uniform"
    changed(kept / "seed-0/metrics.json", lambda metrics: metrics.pop("triples_sha256"))
    arguments = ["--runs", tmp_path / "none", "--results", tmp_path / "results", "--table"]
    message = refuse(capsys, "reproduce", grid, *arguments)
    assert f"{kept}: ranks.parquet: the runs to compare rank different test queries" in message


def test_what_is_kept_again_is_not_whole_until_all_of_it_is_written(tiny_runs, tmp_path, monkeypatch, capsys):
    grid, runs = tiny_runs
    table(grid, runs, tmp_path, capsys)
    folder = tmp_path / "tiny/tiny/short/seed-0"

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(results.pq, "write_table", interrupted)
        assert reproduce(grid, runs, "--table", "--results", tmp_path, "--only", "tiny/short") == 130
    assert (folder / "config.yaml").is_file() and not (folder / "metrics.json").exists()
    table(grid, runs, tmp_path, capsys)
    assert (folder / "metrics.json").is_file()


def test_ranks_that_are_not_those_of_the_kept_metrics_are_told(tiny_runs, tmp_path, capsys):
    grid, runs = tiny_runs
    table(grid, runs, tmp_path, capsys)
    kept = tmp_path / "tiny/tiny/mmrns"
    shutil.copy(kept / "seed-1/ranks.parquet", kept / "seed-0/ranks.parquet")
    message = refuse(capsys, "reproduce", grid, "--runs", tmp_path, "--results", tmp_path, "--table")
    assert f"{kept}/seed-0/ranks.parquet: is not of the same ranking as metrics.json (MRR 0." in message
    assert f"remove {kept}/seed-0 and publish the run again" in message
