"""Where the trials of `mmrns tune` run, whose they are, and when one that is killed is given up."""

import shutil
import sqlite3

import pytest

from mmrns.cli import main
from mmrns.errors import StoppedError
from mmrns.training.batches import Batches
from tests.experiments.test_reproduce import files_of
from tests.experiments.tiny_search import (
    fake_training,
    records,
    refuse,
    trials_of,
    tune_until_killed,
    without_seconds,
    write_search,
)
from tests.locks import held_elsewhere


@pytest.fixture
def place(tiny_graph, tmp_path):
    """(folder, arguments) of a search to begin."""
    return tmp_path, write_search(tmp_path, tiny_graph)


def with_storage(argv, name):
    """The arguments with another study file, of the same study's name, in the same folder."""
    return [argument.replace("studies.db", name) for argument in argv]


def test_studies_of_one_name_in_two_files_share_no_folder(place, tiny_graph):
    folder, argv = place
    assert tune_until_killed([*argv, "--trials", "1"], at_batch=4) == -9
    begun = folder / "studies.db-trials/configs-base/trial-0"
    before, given = files_of(begun), ["--trials", "1", "--set", "model=distmult"]
    assert main([*with_storage(argv, "studies.sqlite"), *given]) == 0
    alone = folder / "alone"
    assert main([*write_search(alone, tiny_graph), *given]) == 0
    assert without_seconds(records(folder)) == without_seconds(records(alone))
    assert files_of(begun) == before != {}
    assert main([*argv, "--trials", "1"]) == 0
    assert trials_of(folder)[0].user_attrs["killed_at"] == [2]
    assert without_seconds(records(folder)) != without_seconds(records(alone))


def test_a_study_begun_anew_takes_over_no_trial_of_the_old_one_and_removes_none(place, capsys):
    folder, argv = place
    assert main([*argv, "--trials", "1", "--keep"]) == 0
    before = files_of(folder / "studies.db-trials")
    (folder / "studies.db").unlink()
    trials = folder / "studies.db-trials/configs-base"
    message = refuse(capsys, [*argv, "--trials", "1", "--set", "steps=4"])
    assert f"{trials}/trial-0: was left by another study; move or remove {trials}, or give another --stor" in message
    assert files_of(folder / "studies.db-trials") == before
    trials.rename(folder / "put aside")
    assert main([*argv, "--trials", "1", "--set", "steps=4"]) == 0
    assert [(row["number"], row["step"]) for row in records(folder)] == [("0", "4")]


def test_something_in_the_place_of_a_new_trial_is_told_and_left(place, monkeypatch, capsys):
    folder, argv = place
    fake_training(monkeypatch, lambda config: [0.1])
    assert main([*argv, "--trials", "1"]) == 0
    theirs = folder / "studies.db-trials/configs-base/trial-1"
    theirs.mkdir()
    for _ in range(2):  # nothing is drawn until it is gone
        assert "trial-1: was left by another study" in refuse(capsys, [*argv, "--trials", "2"])
        assert len(trials_of(folder)) == 1 and theirs.is_dir()
    theirs.rmdir()
    assert main([*argv, "--trials", "2"]) == 0


def test_a_trial_of_before_studies_had_a_folder_of_their_own_goes_on(place, tiny_graph):
    folder, argv = place
    older(folder, argv)
    assert main([*argv, "--trials", "2"]) == 0
    anew = folder / "anew"
    assert main([*write_search(anew, tiny_graph), "--trials", "2"]) == 0
    assert without_seconds(records(folder)) == without_seconds(records(anew))
    assert list((folder / "configs-base").iterdir()) == []


def test_a_trial_does_not_go_on_from_another_s_run(place, capsys):
    folder, argv = place
    older(folder, argv)
    file = folder / "configs-base/trial-0/config.yaml"
    own = file.read_text()
    file.write_text(own.replace("gamma: ", "gamma: 1"))
    before = files_of(folder / "configs-base/trial-0")
    for _ in range(4):  # which counts as no kill
        capsys.readouterr()
        assert main([*argv, "--trials", "1"]) == 2
        message = capsys.readouterr().err.splitlines()[-1]
        assert "configs-base/trial-0: holds another run (gamma: 1" in message and "trial 0 has " in message
    assert files_of(folder / "configs-base/trial-0") == before
    file.write_text(own)
    assert main([*argv, "--trials", "1"]) == 0
    assert [row["state"] for row in records(folder)] == ["complete"]


def older(folder, argv):
    """Kill a search in its first trial, and make it look as an older version left it."""
    assert tune_until_killed([*argv, "--trials", "2"], at_batch=4) == -9
    shutil.move(folder / "studies.db-trials/configs-base", folder / "configs-base")
    with sqlite3.connect(folder / "studies.db") as storage:
        storage.execute("DELETE FROM trial_user_attributes WHERE key = 'own_place'")
        storage.execute("UPDATE trial_user_attributes SET key = 'begun_at' WHERE key = 'killed_at'")


def test_a_trial_s_lock_that_is_not_free_is_told(place, capsys):
    folder, argv = place
    trials = folder / "studies.db-trials/configs-base"
    trials.mkdir(parents=True)
    with held_elsewhere(trials / ".trial-0.lock"):
        message = refuse(capsys, [*argv, "--trials", "1"])
        assert f"{trials}/trial-0: another process is at it; wait for it to end, or stop it" in message
        assert not (trials / "trial-0").exists()
    assert main([*argv, "--trials", "1"]) == 0
    assert [(row["number"], row["state"]) for row in records(folder)] == [("0", "complete")]


@pytest.mark.parametrize(("at_batch", "step"), [(1, 0), (4, 2)])
def test_a_trial_that_was_killed_three_times_after_the_same_step_is_given_up(place, monkeypatch, at_batch, step):
    folder, argv = place
    assert tune_until_killed([*argv, "--trials", "1"], at_batch) == -9

    def killed(*_):
        raise KeyboardInterrupt

    for _ in range(2):  # as a kill before the next validation
        assert trials_of(folder)[0].state.name == "RUNNING"
        with monkeypatch.context() as patch:
            patch.setattr(Batches, "rows", killed)
            assert main([*argv, "--trials", "1"]) == 130
    fake_training(monkeypatch, lambda config: [0.5])
    assert main([*argv, "--trials", "1"]) == 0
    rows = records(folder)
    assert [row["state"] for row in rows] == ["failed", "complete"]
    assert rows[0]["why"] == f"killed 3 times after step {step}"
    assert rows[1]["gamma"] == rows[0]["gamma"]  # the configuration's own values are tried nevertheless


def test_a_stop_is_no_kill(place, monkeypatch):
    folder, argv = place

    def ended(error):
        fake_training(monkeypatch, lambda config: (_ for _ in ()).throw(error))
        return main([*argv, "--trials", "1"])

    for _ in range(4):
        assert ended(StoppedError("stopped")) == 2
    for _ in range(2):
        assert ended(KeyboardInterrupt()) == 130
    fake_training(monkeypatch, lambda config: [0.5])
    assert main([*argv, "--trials", "1"]) == 0
    assert [row["state"] for row in records(folder)] == ["complete"]
