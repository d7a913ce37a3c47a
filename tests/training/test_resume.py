"""A run that was stopped at any point and resumed gives the same bits as one left alone."""

import json
import re
import shutil
import signal

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmrns import load, load_dataset, train
from mmrns.cli import main
from mmrns.config_io import load_config
from mmrns.errors import UserError
from mmrns.features import FeatureStore
from mmrns.files import claimed
from tests.tiny import tiny_features, train_command, write_tiny_features, write_tiny_graph
from tests.training import stopped

DROPPING = "tests.training.dropping:Dropping"
# Everything whose place a continuation must find again: dropout's draws, and batches grouped by relation.
PLACED = {"model": DROPPING, "entity-dropout": 0.1, "relation-group": 3}


def command(graph, folder, sampler, **options):
    return train_command(graph, folder, sampler, **PLACED, **options)


def resume(folder):
    assert main(["train", "--resume", str(folder)]) == 0


def assert_same_outcome(folder, other):
    for name, tensor in load_file(other / "model.safetensors").items():
        assert torch.equal(load_file(folder / "model.safetensors")[name], tensor), name
    metrics, expected = (loaded_metrics(path) for path in (folder, other))
    assert metrics == expected
    for name in ("ranks.parquet", "ranks-valid.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(folder / name), pd.read_parquet(other / name), check_exact=True)
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def loaded_metrics(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    return {key: metrics[key] for key in ("dataset", "steps", "selection", "protocol", "valid", "test")}


@pytest.fixture(scope="module")
def whole(tiny_graph, tmp_path_factory):
    """Runs that nobody stopped, by sampler."""
    folder = tmp_path_factory.mktemp("whole")
    for sampler in ("uniform", "mmrns"):
        assert main(command(tiny_graph, folder / sampler, sampler)) == 0
    return {sampler: folder / sampler for sampler in ("uniform", "mmrns")}


def test_dropout_schedule_and_sampler_all_move_the_result(whole, tiny_graph, tmp_path):
    """Or else equality below would show nothing."""
    expected = load_file(whole["uniform"] / "model.safetensors")["model.entities.table"]
    for number, change in enumerate(
        ({"model": "distmult"}, {"schedule": "constant"}, {"seed": 1}, {"relation-group": 1}, {"entity-dropout": 0})
    ):
        assert main(train_command(tiny_graph, tmp_path / str(number), **(PLACED | change))) == 0
        changed = load_file(tmp_path / str(number) / "model.safetensors")["model.entities.table"]
        assert not torch.equal(changed, expected), change
    assert not torch.equal(load_file(whole["mmrns"] / "model.safetensors")["model.entities.table"], expected)


@pytest.mark.parametrize("sampler", ["uniform", "mmrns"])
def test_the_same_command_gives_the_same_bits(whole, tiny_graph, tmp_path, sampler):
    torch.rand(7)  # whatever state this process was in
    assert main(command(tiny_graph, tmp_path / "run", sampler)) == 0
    assert_same_outcome(tmp_path / "run", whole[sampler])


@pytest.mark.parametrize(("sampler", "step"), [("uniform", 17), ("mmrns", 23)])
def test_kill_9_in_the_middle_of_training(whole, tiny_graph, tmp_path, sampler, step):
    run = tmp_path / "run"
    assert stopped.stop_at_step(command(tiny_graph, run, sampler), tmp_path / "err", step, signal.SIGKILL) == -9
    assert not (run / "metrics.json").exists()
    assert load(run).step in (10, 20)
    resume(run)
    assert_same_outcome(run, whole[sampler])


@pytest.mark.parametrize(("sampler", "number"), [("mmrns", signal.SIGTERM), ("uniform", signal.SIGINT)])
def test_a_signal_stops_cleanly_between_two_steps(whole, tiny_graph, tmp_path, sampler, number):
    run = tmp_path / "run"
    assert stopped.stop_at_step(command(tiny_graph, run, sampler), tmp_path / "err", 13, number) == 2
    message = (tmp_path / "err").read_text().splitlines()[-1]
    pattern = rf"mmrns train: stopped at step (\d+) as asked; continue with: mmrns train --resume {run}"
    found = re.fullmatch(pattern, message)
    assert 13 <= int(found[1]) < 30
    state = torch.load(run / "state.pt", weights_only=True)
    assert state["progress"]["step"] == int(found[1])
    load(run)
    resume(run)
    assert_same_outcome(run, whole[sampler])


# state.pt is written at steps 0, 10, 20 and 30; model.safetensors at 0 and 10 at least.
@pytest.mark.parametrize(
    ("sampler", "what", "number"),
    [
        ("uniform", "state", 1),
        ("mmrns", "state", 3),
        ("mmrns", "model", 2),
        *(
            pytest.param("uniform", *rest, marks=pytest.mark.slow)
            for rest in (("state", 4), ("model", 1), ("model", 2))
        ),
        *(pytest.param("mmrns", *rest, marks=pytest.mark.slow) for rest in (("state", 1), ("state", 4), ("model", 1))),
    ],
)
def test_kill_9_while_a_checkpoint_is_half_written(whole, tiny_graph, tmp_path, sampler, what, number):
    run = tmp_path / "run"
    argv = command(tiny_graph, run, sampler)
    assert stopped.run(argv, tmp_path / "err", "die in the middle of", what, number) == -9
    assert [path for path in run.iterdir() if path.name.endswith(".partial")]
    if (what, number) != ("model", 1):
        load(run)
    resume(run)
    assert_same_outcome(run, whole[sampler])


# 1 config, 2 vocabulary, 3 environment, 4 model, 5 state; model and state at validations; ranks, ranks, metrics.
@pytest.mark.parametrize(
    "number", [1, 5, 6, 9, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3, 4, 7, 8, 10, 11, 12))]
)
def test_kill_9_after_each_file_that_a_run_writes(whole, tiny_graph, tmp_path, number):
    run = tmp_path / "run"
    argv = command(tiny_graph, run, "uniform")
    assert stopped.run(argv, tmp_path / "err", "die after replacing", number) == -9
    resume(run)
    assert_same_outcome(run, whole["uniform"])


@pytest.mark.slow
def test_killed_again_and_again(whole, tiny_graph, tmp_path):
    run = tmp_path / "run"
    argv = command(tiny_graph, run, "mmrns", checkpoint_every=4)
    for step in (6, 11, 19, 27):
        assert stopped.stop_at_step(argv, tmp_path / "err", step, signal.SIGKILL) == -9
        argv = ["train", "--resume", str(run)]
    resume(run)
    assert_same_outcome(run, whole["mmrns"])


def test_early_stopping_is_resumed_too(tiny_graph, tmp_path):
    options = {"valid_every": 2, "patience": 2, "steps": 200, "schedule": "constant", "checkpoint_every": 3}
    assert main(command(tiny_graph, tmp_path / "whole", "uniform", **options)) == 0
    metrics = loaded_metrics(tmp_path / "whole")
    steps = metrics["steps"]
    assert steps == metrics["selection"]["step"] + 4 < 200
    run = tmp_path / "run"
    argv = command(tiny_graph, run, "uniform", **options)
    assert stopped.stop_at_step(argv, tmp_path / "err", steps - 2, signal.SIGKILL) == -9
    resume(run)
    assert_same_outcome(run, tmp_path / "whole")


def test_a_run_goes_on_with_its_own_features_wherever_they_lie(tmp_path, capsys):
    graph, run = write_tiny_graph(tmp_path / "graph"), tmp_path / "run"
    write_tiny_features(graph)
    assert main(train_command(graph, run, "mmrns", steps=4)) == 0
    for name, seed in (("same", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        FeatureStore.write(load_dataset(graph), tiny_features(seed), tmp_path / name)
    longer = ["train", "--resume", str(run), "--steps", "6", "--features"]
    capsys.readouterr()
    assert main([*longer, str(tmp_path / "other")]) == 2
    assert f"{run}: was begun with other features" in capsys.readouterr().err
    assert loaded_metrics(run)["steps"] == 4
    assert main([*longer, str(tmp_path / "same")]) == 0
    assert loaded_metrics(run)["steps"] == 6


def test_a_run_that_stopped_early_goes_on_with_more_patience(tiny_graph, tmp_path):
    options = {"valid_every": 2, "steps": 40, "schedule": "constant"}
    assert main(command(tiny_graph, tmp_path / "whole", "uniform", **options)) == 0
    run = tmp_path / "run"
    assert main(command(tiny_graph, run, "uniform", **options, patience=1)) == 0
    assert loaded_metrics(run)["steps"] < 40
    assert main(["train", "--resume", str(run), "--patience", "0"]) == 0
    assert_same_outcome(run, tmp_path / "whole")


def test_resuming_a_finished_run_changes_nothing_and_prints_the_same(whole, tmp_path, capsys):
    run = shutil.copytree(whole["mmrns"], tmp_path / "run")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.rglob("*") if path.is_file()}
    assert main(["train", "--resume", str(run), "--json"]) == 0
    assert capsys.readouterr().out.strip() == (run / "metrics.json").read_text().strip()
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.rglob("*") if path.is_file()}
    assert after == before


def test_a_finished_run_can_be_made_longer(tiny_graph, tmp_path):
    assert main(command(tiny_graph, tmp_path / "whole", "mmrns", schedule="constant")) == 0
    run = tmp_path / "run"
    assert main(command(tiny_graph, run, "mmrns", schedule="constant", steps=20)) == 0
    longer = ["train", "--resume", str(run), "--steps", "30"]
    assert stopped.stop_at_step(longer, tmp_path / "err", 25, signal.SIGKILL) == -9
    # What the old end left goes when the run goes on: it has not ended now, and other weights are written.
    assert not [name for name in ("metrics.json", "ranks.parquet", "ranks-valid.parquet") if (run / name).exists()]
    resume(run)  # the new length was kept
    assert_same_outcome(run, tmp_path / "whole")


def test_a_run_made_longer_validates_as_often_as_before_at_the_rates_of_its_new_schedule(tiny_graph, tmp_path):
    run = tmp_path / "run"
    assert main(command(tiny_graph, run, "uniform", steps=20, valid_every=0, log_every=1)) == 0
    longer = ["train", "--resume", str(run), "--steps"]
    assert stopped.stop_at_step([*longer, "30"], tmp_path / "err", 25, signal.SIGKILL) == -9
    assert main([*longer, "40"]) == 0
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "valid/mrr" in line] == list(range(2, 41, 2))
    # What is logged is the rate of the step to come; the schedule was 20, 30 and 40 steps long, 5 of them warm-up.
    rates = {line["step"]: line["train/learning_rate"] for line in lines if "train/learning_rate" in line}
    assert [rates[step] for step in (15, 20, 21, 39, 40)] == pytest.approx(
        [0.05 / 3, 0, 0.05 * 9 / 25, 0.05 / 35, 0], abs=1e-9
    )


def test_python_may_change_no_more_than_the_command(tiny_graph, tmp_path):
    run = tmp_path / "run"
    assert main(command(tiny_graph, run, "uniform", steps=4)) == 0
    begun = load_config({}, run / "config.yaml")
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    for change in ({"learning_rate": 5.0}, {"seed": 7}, {"validation": "held-out"}, {"dataset": str(tmp_path)}):
        name = next(iter(change)).replace("_", "-")
        with pytest.raises(UserError, match=f"--{name}: cannot change when a run is resumed"):
            train(begun.model_copy(update=change | {"steps": 6}), resume=True)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    with pytest.raises(UserError, match=r"not a run folder \(no config.yaml\)"):
        train(begun.model_copy(update={"output": str(tmp_path / "nowhere")}), resume=True)
    # Left open again, it stays what it came to be.
    left_open = {"steps": 6, "validation": "auto", "precision": "auto", "log_every": 1}
    assert train(begun.model_copy(update=left_open), resume=True)["steps"] == 6
    assert load_config({}, run / "config.yaml") == begun.model_copy(update={"steps": 6, "log_every": 1})


def test_a_killed_run_knows_what_its_weights_are(tiny_graph, tmp_path):
    run = tmp_path / "run"
    argv = command(tiny_graph, run, "uniform", valid_every=2, checkpoint_every=100, schedule="constant")
    assert stopped.stop_at_step(argv, tmp_path / "err", 17, signal.SIGKILL) == -9
    progress = torch.load(run / "state.pt", weights_only=True)["progress"]
    assert 0 < progress["best_step"] == progress["step"] == load(run).step


def test_weights_that_were_not_selected_are_not_reported(whole, tmp_path, capsys):
    """As those that a killed process wrote after its last state, where the run went on in another way."""
    run = shutil.copytree(whole["uniform"], tmp_path / "run")
    selected = json.loads((run / "metrics.json").read_text())["selection"]["step"]
    save_file(load_file(run / "model.safetensors"), run / "model.safetensors", metadata={"step": "7"})
    (run / "metrics.json").unlink()
    capsys.readouterr()
    assert main(["train", "--resume", str(run)]) == 2
    message = f"model.safetensors: holds the weights of step 7, not those of step {selected}, which was selected"
    assert message in capsys.readouterr().err
    assert not (run / "metrics.json").exists()


def test_one_process_at_a_time_trains_a_run(whole, tiny_graph, tmp_path, capsys):
    run = tmp_path / "run"
    first, reports = stopped.start(command(tiny_graph, run, "uniform"), tmp_path / "err", "report")
    while reports.recv() < 3:
        pass
    capsys.readouterr()
    assert main(["train", "--resume", str(run)]) == 2
    assert f"{run}: another process is at work on this run; wait for it to end, or stop it" in capsys.readouterr().err
    assert stopped.statuses([(first, reports)]) == [0], (tmp_path / "err").read_text()
    assert_same_outcome(run, whole["uniform"])


def test_a_run_that_ended_keeps_its_metrics_while_another_process_holds_it(whole, tmp_path, capsys):
    run = shutil.copytree(whole["uniform"], tmp_path / "run")
    with claimed(run / "config.yaml"):
        assert main(["train", "--resume", str(run), "--steps", "40"]) == 2
    assert "another process is at work on this run" in capsys.readouterr().err
    assert load_config({}, run / "config.yaml").steps == loaded_metrics(run)["steps"] == 30


def test_the_command_that_began_a_run_may_be_repeated_with_resume(whole, tmp_path, tiny_graph, monkeypatch):
    run = shutil.copytree(whole["uniform"], tmp_path / "run")
    monkeypatch.chdir(tiny_graph.parent)
    assert main([*command("tiny", run, "uniform"), "--resume", str(run)]) == 0


def test_a_run_is_readable_from_another_working_directory(tiny_graph, tmp_path, monkeypatch, capsys):
    shutil.copytree(tiny_graph, tmp_path / "here/data/tiny", ignore=shutil.ignore_patterns("features.*"))
    (tmp_path / "here/features").mkdir()
    for name in ("features.safetensors", "features.json"):
        shutil.copy(tiny_graph / name, tmp_path / "here/features" / name)
    (tmp_path / "there").mkdir()
    monkeypatch.delenv("MMRNS_DATA", raising=False)
    monkeypatch.chdir(tmp_path / "here")
    # "tiny" is found as data/tiny of the current folder.
    assert main(train_command("tiny", "runs/a", "mmrns", features="features", steps=20)) == 0
    monkeypatch.chdir(tmp_path / "there")
    capsys.readouterr()
    assert main(["evaluate", "../here/runs/a"]) == 0
    assert main(["predict", "../here/runs/a", "--head", "e00", "--relation", "r0"]) == 0
    assert main(["train", "--resume", "../here/runs/a", "--steps", "30"]) == 0
    assert "not marked" not in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == []
    assert loaded_metrics(tmp_path / "here/runs/a")["steps"] == 30
