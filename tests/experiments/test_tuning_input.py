"""`mmrns tune`: pairs that must be searched alike, studies of other searches, and bad input."""

import json
import re

import pytest
import yaml

from mmrns.cli import main
from tests.experiments.tiny_search import SPACE, fake_training, records, refuse, write_search


@pytest.fixture
def place(tiny_graph, tmp_path):
    """(folder, arguments) of a search to begin."""
    return tmp_path, write_search(tmp_path, tiny_graph)


def test_a_pair_gets_as_many_trials(tmp_path, tiny_graph, monkeypatch, capsys):
    fake_training(monkeypatch, lambda config: [0.1])
    argv = write_search(tmp_path, tiny_graph)
    assert main([*argv, "--trials", "3", "--study", "uniform"]) == 0
    sampler = SPACE | {"contrastive_weight": {"low": 0.001, "high": 1, "log": True}}
    argv = write_search(tmp_path, tiny_graph, sampler, sampler="mmrns")
    pair = [*argv, "--study", "mmrns", "--pair", "uniform"]
    assert main(pair) == 0
    found = {}
    for name in ("uniform", "mmrns"):
        found[name] = json.loads((tmp_path / f"results/tune/{name}/search.json").read_text())
    assert found["mmrns"]["counted"] == found["uniform"]["counted"] == 3
    assert found["mmrns"]["pair"] == "uniform"
    assert "--pair uniform" in found["mmrns"]["command"]
    assert "--trials 4: --pair uniform has 3 trials" in refuse(capsys, [*pair, "--trials", "4"])
    for changed, says in (
        (["--seed", "1"], "another seed"),
        (["--set", "steps=7"], "another steps"),
        (["--pruner", "none"], "another pruner"),
        (["--pair", "none"], "--study none: .* has no such study; it has mmrns, uniform"),
    ):
        assert re.search(says, refuse(capsys, [*pair, "--study", "other", *changed]))
    sampler["gamma"] = {"low": 2, "high": 24}
    write_search(tmp_path, tiny_graph, sampler, sampler="mmrns")
    assert "another gamma" in refuse(capsys, [*pair, "--study", "other"])


def test_a_study_of_another_search_is_refused(place, monkeypatch, capsys):
    folder, argv = place
    fake_training(monkeypatch, lambda config: [0.1])
    assert main([*argv, "--trials", "1"]) == 0
    argv = [*argv, "--trials", "20"]
    before = records(folder)
    for changed, says in (
        (["--seed", "1"], "--seed not given, now 1"),
        (["--pruner", "none"], "--pruner median, now none"),
        (["--set", "steps=7"], "other options, steps: 6, now 7"),
        (["--set", "sampler=mmrns"], "other options, sampler: uniform, now mmrns"),
    ):
        assert says in refuse(capsys, [*argv, *changed])
    text = (folder / "space.yaml").read_text()
    try:
        (folder / "space.yaml").write_text(text.replace("high: 24", "high: 25"))
        assert 'another space, gamma: {"low": 1.0, "high": 24.0}, now' in refuse(capsys, argv)
        (folder / "space.yaml").write_text("gamma: {low: 1, high: 24}\n")
        assert "another space, learning_rate: " in refuse(capsys, argv)
    finally:
        (folder / "space.yaml").write_text(text)
    assert records(folder) == before


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ("", r"--search .*space\.yaml: searches nothing"),
        ("gama: {low: 1, high: 2}", r"space\.yaml:1: gama: no option"),
        ("dim: {low: 4, high: 8}\nseed: {low: 1, high: 2}", r"space\.yaml:2: seed: no option .* can be searched"),
        ("metric: {choices: [mrr]}", r"metric: no option"),
        ("gamma: 3", r"gamma: needs \{low"),
        ("gamma: {low: 2, high: 2}", r"gamma: low must be below high"),
        ("gamma: {low: 3, high: 2}", r"gamma: low must be below high"),
        ("gamma: {low: 1, high: .inf}", r"gamma: low must be below high"),
        ("gamma: {low: 1}", r"gamma: needs low and high, or choices"),
        ("gamma: {choices: []}", r"gamma: needs low and high, or choices"),
        ("gamma: {low: 1, high: 2, choices: [1]}", r"gamma: needs low and high, or choices"),
        ("gamma: {low: 0, high: 2, log: true}", r"gamma: log needs low above 0"),
        ("gamma: {low: some, high: 2}", r"gamma: low: input should be a valid number"),
        ("gamma: {low: true, high: 2}", r"gamma: low: input should be a valid number"),
        ("gamma: {low: 1, high: 2, step: 1}", r"gamma: step: extra inputs are not permitted"),
        ("gamma: {low: -1, high: 2}", r"gamma: --gamma: .*greater than 0"),
        ("dim: {low: 1.5, high: 4}", r"dim: --dim: .*integer"),
        ("schedule: {low: 1, high: 4}", r"schedule: is no number; give its choices"),
        ("schedule: {choices: [linear, steep]}", r"schedule: --schedule: .*'steep'"),
        ("model_options: {choices: [{p: 2}]}", r"model_options: choices: "),
        ("gamma: {low: 1, high: 2}\ngamma: {low: 1, high: 2}", r"space\.yaml:2: gamma: given twice"),
        ("gamma: [", r"--search .*space\.yaml: not YAML"),
    ],
)
def test_a_bad_space(tmp_path, tiny_graph, capsys, space, says):
    argv = write_search(tmp_path, tiny_graph, space)
    assert re.search(says, refuse(capsys, [*argv, "--trials", "1"]))
    assert not (tmp_path / "studies.db").exists() and not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ([], "--trials : needs a number of trials"),
        (["--trials", "0"], "--trials 0: needs a number of trials from 1"),
        (["--trials", "few"], "argument --trials: invalid int value: 'few'"),
        (["--trials", "1", "--seed", "-1"], "--seed -1: must be at least 0"),
        (["--trials", "1", "--study", "a/b"], "--study a/b: names a folder too"),
        (["--trials", "1", "--set", "metric=mrr"], "--set metric=mrr: needs OPTION=VALUE, .* other than output and m"),
        (["--trials", "1", "--set", "steps=many"], "--steps: "),
        (["--trials", "1", "--set", "gamma=3"], r"--set gamma: is searched by .*space\.yaml:5"),
        (["--trials", "1", "--config", "none.yaml"], "--config none.yaml: no such file"),
        (["--trials", "1", "--search", "none.yaml"], "--search none.yaml: no such file"),
        (["--trials", "1", "--pair", "x"], "--storage .*studies.db: no such file"),
        (["--show"], "--storage .*studies.db: no such file"),
        (["--trials", "1", "--storage", "space.yaml"], r"--storage .*space\.yaml: not a file of Optuna's"),
    ],
)
def test_bad_arguments(place, capsys, monkeypatch, changed, says):
    folder, argv = place
    monkeypatch.chdir(folder)
    assert re.search(says, refuse(capsys, [*argv, *changed]))
    assert not (folder / "studies.db").exists() and not (folder / "results").exists()


def test_what_is_missing_is_named(capsys, place):
    assert "--config: needed" in refuse(capsys, ["tune"])
    assert "--config, --search: both are needed" in refuse(capsys, ["tune", *place[1][1:3]])


def test_ends_are_read_as_options_are(tmp_path, tiny_graph, monkeypatch):
    """PyYAML takes 1e-4 for text; a configuration may say it so, and so may a space."""
    space = "learning_rate: {low: 1e-4, high: 1e-1, log: true}\nregularization: {choices: [0, 1]}\n"
    argv = write_search(tmp_path, tiny_graph, space)
    fake_training(monkeypatch, lambda config: [0.1])
    assert main([*argv, "--trials", "4"]) == 0
    assert records(tmp_path)[0]["regularization"] == "0.0"
    kept = json.loads((tmp_path / "results/tune/configs-base/search.json").read_text())["space"]
    assert kept["learning_rate"] == {"low": 1e-4, "high": 0.1, "log": True}
    assert yaml.safe_load((tmp_path / "results/tune/configs-base/best.yaml").read_text())["learning_rate"] > 0
