"""`mmrns tune` on the tiny graph: what is tried, what is recorded, and what a kill leaves."""

import json
import re
import signal
import statistics

import pytest

from mmrns.cli import main
from mmrns.config_io import load_config
from mmrns.errors import UserError
from mmrns.experiments import tuning
from mmrns.graph import load_dataset
from mmrns.training import loop
from tests.experiments.tiny_search import (
    SPACE,
    fake_training,
    records,
    trials_of,
    tune_until_killed,
    without_seconds,
    write_search,
)
from tests.training import stopped

TRIALS = 9


@pytest.fixture(scope="module")
def searched(tiny_graph, tmp_path_factory):
    """(folder, arguments, what was ranked) of a search that has ended. Nobody writes into it."""
    folder, ranked = tmp_path_factory.mktemp("search"), []
    argv = write_search(folder, tiny_graph)
    original = loop.rank_triples
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            loop, "rank_triples", lambda m, triples, *r, **k: ranked.append(triples) or original(m, triples, *r, **k)
        )
        patch.setattr(loop, "finish", None)
        assert main([*argv, "--trials", str(TRIALS), "--keep"]) == 0
    return folder, argv, ranked


@pytest.fixture
def place(tiny_graph, tmp_path):
    """(folder, arguments) of a search to begin."""
    return tmp_path, write_search(tmp_path, tiny_graph)


def test_trials_are_recorded_and_lie_in_the_space(searched):
    folder, *_ = searched
    rows = records(folder)
    assert [int(row["number"]) for row in rows] == list(range(TRIALS))
    assert {row["state"] for row in rows} == {"complete", "pruned"}
    for row, trial in zip(rows, trials_of(folder), strict=True):
        for name, ends in SPACE.items():
            assert ends["low"] <= float(row[name]) <= ends["high"]
        assert row["dim"].isdigit()
        assert float(row["value"]) == pytest.approx(max(trial.intermediate_values.values()), abs=1e-6)
        assert int(row["step"]) == max(trial.intermediate_values) and float(row["seconds"]) > 0
        assert (row["state"] == "complete") == (int(row["step"]) == 6)
        assert row["why"] == ("" if row["state"] == "complete" else "below the median")
    assert len({row["learning_rate"] for row in rows}) == TRIALS


def test_the_first_trial_is_the_configuration_itself(searched):
    folder, *_ = searched
    config = load_config({}, folder / "configs/base.yaml")
    assert {name: float(records(folder)[0][name]) for name in SPACE} == {n: getattr(config, n) for n in SPACE}


def test_a_trial_is_pruned_below_the_median_and_not_else(searched):
    """Against the definition: from the second validation on, once five trials are complete."""
    folder, *_ = searched
    trials = trials_of(folder)
    pruned = 0
    for trial in trials:
        complete = [t for t in trials[: trial.number] if t.state.name == "COMPLETE"]
        values = sorted(trial.intermediate_values.items())
        ends = []
        for number, (step, _) in enumerate(values[1:], start=2):
            median = statistics.median(t.intermediate_values[step] for t in complete) if len(complete) >= 5 else -1
            ends.append(max(value for _, value in values[:number]) < median)
        assert not any(ends[:-1]) and ends[-1] == (trial.state.name == "PRUNED")
        pruned += ends[-1]
    assert 0 < pruned < TRIALS - 5


def test_without_a_pruner_every_trial_ends(place, monkeypatch):
    folder, argv = place
    fake_training(monkeypatch, lambda config: [1 / config.gamma, 2 / config.gamma, 3 / config.gamma])
    assert main([*argv, "--trials", "12", "--pruner", "none"]) == 0
    assert [row["state"] for row in records(folder)] == ["complete"] * 12


def test_only_valid_is_ranked(searched, tiny_graph):
    folder, _, ranked = searched
    valid = {tuple(triple) for triple in load_dataset(tiny_graph).valid.tolist()}
    assert len(ranked) == sum(len(trial.intermediate_values) for trial in trials_of(folder))
    assert all({tuple(triple) for triple in triples.tolist()} == valid for triples in ranked)
    assert len(list(folder.glob("studies.db-trials/configs-base/trial-*/config.yaml"))) == TRIALS
    assert [*folder.rglob("ranks*"), *folder.rglob("metrics.json")] == []


def test_a_slice_held_out_of_train_is_searched_on_and_the_last_weights_count_where_they_are_kept(place):
    folder, argv = place
    assert main([*argv, "--trials", "2", "--set", "validation=held-out", "held_out=20", "selection=last"]) == 0
    for row, trial in zip(records(folder), trials_of(folder), strict=True):
        assert float(row["value"]) == pytest.approx(trial.intermediate_values[6], abs=1e-6)
    options = json.loads((folder / "results/tune/configs-base/search.json").read_text())["options"]
    assert (options["validation"], options["held_out"], options["selection"]) == ("held-out", 20, "last")


def test_best_yaml_is_the_configuration_with_the_best_trial_s_options_and_trains_to_its_value(searched, tmp_path):
    folder, *_ = searched
    complete = [row for row in records(folder) if row["state"] == "complete"]
    best = max(complete, key=lambda row: float(row["value"]))
    file = folder / "results/tune/configs-base/best.yaml"
    expected = load_config({name: best[name] for name in SPACE}, folder / "configs/base.yaml")
    assert load_config({}, file) == expected
    assert main(["train", "--config", str(file), "--output", str(tmp_path / "run")]) == 0
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["valid"]["both"]["mrr"] == pytest.approx(float(best["value"]), abs=1e-6)


def test_the_record_says_what_was_searched_and_how_to_search_again(searched, tmp_path, monkeypatch):
    folder, *_ = searched
    record = json.loads((folder / "results/tune/configs-base/search.json").read_text())
    assert record["counted"] == TRIALS == record["trials"]["complete"] + record["trials"]["pruned"]
    assert record["space"] == SPACE and record["metric"] == "mrr on valid"
    assert record["options"]["model"] == "transe" and "gamma" not in record["options"]
    assert record["environment"]["versions"]["optuna"] and record["environment"]["git_commit"]
    for argument in ("--trials 9", "--study configs-base", "--seed 0", "--pruner median"):
        assert argument in record["command"]


def test_a_search_that_has_ended_does_nothing_and_more_trials_go_on(searched, place, monkeypatch):
    _, argv, _ = searched
    before = records(searched[0])
    assert main([*argv, "--trials", str(TRIALS)]) == 0
    assert records(searched[0]) == before
    folder, argv = place
    fake_training(monkeypatch, lambda config: [1 / config.gamma])
    assert main([*argv, "--trials", "3"]) == 0
    first = records(folder)
    assert main([*argv, "--trials", "7"]) == 0
    assert len(records(folder)) == 7 and records(folder)[:3] == first
    # As if it had been asked for at once: no call repeats the draws of another.
    again = folder / "again"
    argv = write_search(again, "tiny")
    assert main([*argv, "--trials", "7"]) == 0
    assert without_seconds(records(again)) == without_seconds(records(folder))


def test_run_folders_are_removed_unless_they_are_to_be_kept(place):
    folder, argv = place
    assert main([*argv, "--trials", "2"]) == 0
    assert list((folder / "studies.db-trials/configs-base").iterdir()) == []


def test_a_killed_search_goes_on_to_the_same_trials(searched, place, capsys):
    folder, argv = place
    # Each trial asks for at most 6 batches: in the 2nd trial, after it has validated once.
    assert tune_until_killed([*argv, "--trials", "4"], at_batch=10) == -9
    assert main([*argv, "--show", "--json"]) == 0
    assert [t["state"] for t in json.loads(capsys.readouterr().out)["trials"]] == ["complete", "begun"]
    assert tune_until_killed([*argv, "--trials", "4"], at_batch=4) == -9
    assert main([*argv, "--trials", "4"]) == 0
    assert without_seconds(records(folder)) == without_seconds(records(searched[0])[:4])
    # The second trial went on from step 2, then from step 4, and was not begun anew.
    assert trials_of(folder)[1].user_attrs["killed_at"] == [2, 4]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_stopped_search_ends_cleanly_and_goes_on(searched, place, number):
    folder, argv = place
    assert stopped.stop_at_step([*argv, "--trials", "2"], folder / "err", 3, number) == 2
    text = (folder / "err").read_text()
    assert "Traceback" not in text
    assert text.splitlines()[-1] == "mmrns tune: stopped in trial 0; the same command goes on from there"
    assert main([*argv, "--trials", "2"]) == 0
    assert without_seconds(records(folder)) == without_seconds(records(searched[0])[:2])


@pytest.mark.slow
def test_two_processes_share_the_trials(place):
    folder, argv = place
    command = [*argv, "--trials", "6", "--pruner", "none"]
    errors = [folder / "err-1", folder / "err-2"]
    started = [stopped.start(command, error, "report") for error in errors]  # the report slows a step down
    assert [stopped._status(child) for child, _ in started] == [0, 0]
    begun = [re.findall(r"^\[\d/6\] trial (\d): ", error.read_text(), re.MULTILINE) for error in errors]
    assert sorted(begun[0] + begun[1]) == list("012345") and all(begun)
    rows = records(folder)
    assert [row["state"] for row in rows] == ["complete"] * 6
    assert len({row["learning_rate"] for row in rows}) == 6


def test_values_that_diverge_are_a_trial_and_no_crash(tmp_path, tiny_graph, capsys):
    space = "learning_rate: {choices: [1.0e+30, 1.0e+31]}\n"
    argv = write_search(tmp_path, tiny_graph, space, model="distmult", learning_rate=1e30)
    assert main([*argv, "--trials", "2"]) == 0
    assert "no trial is complete yet" in capsys.readouterr().out
    rows = records(tmp_path)
    assert [row["state"] for row in rows] == ["pruned", "pruned"]
    assert all(row["why"].startswith("the loss is not a finite number at step") for row in rows)
    assert not (tmp_path / "results/tune/configs-base/best.yaml").exists()


def test_values_that_do_not_fit_together_are_a_trial(tmp_path, tiny_graph, monkeypatch):
    space = "num_negatives: {choices: [4, 30]}\npool_size: {choices: [20, 40]}\n"
    argv = write_search(tmp_path, tiny_graph, space, sampler="mmrns")
    fake_training(monkeypatch, lambda config: [0.1])
    refused = []
    assert main([*argv, "--trials", "8"]) == 2  # 30 negatives do not fit the configuration's own pool
    argv = write_search(tmp_path, tiny_graph, space, sampler="mmrns", pool_size=40)
    assert main([*argv, "--trials", "8"]) == 0
    for row in records(tmp_path):
        refused.append((row["num_negatives"], row["pool_size"]) == ("30", "20"))
        assert row["state"] == ("pruned" if refused[-1] else "complete")
        assert ("larger than --pool-size 20" in row["why"]) == refused[-1]
    assert any(refused) and not all(refused)


def test_what_fails_any_trial_ends_the_search_and_is_no_trial(place, monkeypatch, capsys):
    folder, argv = place

    def no_room(*_):
        raise UserError("no room")

    fake_training(monkeypatch, no_room)
    assert main([*argv, "--trials", "2"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "mmrns tune: no room"
    fake_training(monkeypatch, lambda config: [0.2])
    assert main([*argv, "--trials", "2"]) == 0
    rows = records(folder)
    assert [(row["state"], row["why"]) for row in rows] == [("failed", "no room"), ("complete", ""), ("complete", "")]
    assert [rows[1][name] for name in SPACE] == [rows[0][name] for name in SPACE]


def test_own_values_outside_of_the_space_are_said(tmp_path, tiny_graph, monkeypatch, capsys):
    argv = write_search(tmp_path, tiny_graph, SPACE, gamma=99.0)
    fake_training(monkeypatch, lambda config: [0.2])
    assert main([*argv, "--trials", "1"]) == 0
    assert "gamma: 99.0 lies outside of the space" in capsys.readouterr().err
    assert float(records(tmp_path)[0]["gamma"]) <= 24


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "1vsall", "model": "complex", "reciprocal": True, "optimizer": "adagrad"},
        pytest.param({"objective": "kvsall", "model": "distmult"}, marks=pytest.mark.slow),
        {"objective": "1vsall", "model": "complex", "sampled_weight": 0.5, "sampler": "mmrns"},
    ],
)
def test_objectives_over_all_entities_are_searched_too(tmp_path, tiny_graph, options):
    space = "label_smoothing: {low: 0, high: 0.3}\nregularization: {low: 0, high: 0.1}\n"
    argv = write_search(tmp_path, tiny_graph, space, **options)
    assert main([*argv, "--trials", "2", "--set", "steps=2", "valid-every=1"]) == 0
    assert [(row["state"], row["step"]) for row in records(tmp_path)] == [("complete", "2")] * 2
    # The final run has the configuration's own steps, not the search's.
    assert load_config({}, tmp_path / "results/tune/configs-base/best.yaml").steps == 6
    best = (tmp_path / "results/tune/configs-base/best.yaml").read_text()
    assert best.splitlines()[0].endswith("; searched with steps=2 valid_every=1.")


def test_show_runs_nothing_and_says_what_mattered(place, monkeypatch, capsys):
    folder, argv = place
    fake_training(monkeypatch, lambda config: [config.gamma / 30])
    assert main([*argv, "--trials", "12", "--pruner", "none", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counted"] == 12 and len(told["trials"]) == 12
    # The value is a function of gamma alone.
    assert next(iter(told["importance"])) == "gamma" and told["importance"]["gamma"] > 0.5
    assert sum(told["importance"].values()) == pytest.approx(1)
    monkeypatch.setattr(tuning, "train", None)
    assert main(["tune", "--show", "--study", "configs-base", "--storage", str(folder / "studies.db"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert main([*argv, "--show"]) == 0
    page = capsys.readouterr().out
    assert f"best: {told['best']['value']:.4f}, trial {told['best']['number']}" in page
    assert re.search(r"\| gamma +\| 0\.\d\d", page)
