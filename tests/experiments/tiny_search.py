"""A search over the tiny graph, within this process or in others that are killed."""

import csv
import os
import signal
import sys

import optuna
import yaml

from mmrns.cli import main
from mmrns.experiments import tuning
from mmrns.training.batches import Batches
from tests.tiny import SHORT_RUN
from tests.training import stopped

SPACE = {
    "learning_rate": {"low": 0.001, "high": 0.5, "log": True},
    "gamma": {"low": 1, "high": 24},
    "dim": {"low": 4, "high": 16},
}


def write_search(folder, tiny_graph, space=SPACE, **changes):
    """configs/base.yaml and space.yaml in `folder`; returns the start of a `mmrns tune` on them."""
    options = {name.replace("-", "_"): value for name, value in SHORT_RUN.items()}
    options |= {"sampler": "uniform", "dataset": str(tiny_graph), "steps": 6, "valid_every": 2} | changes
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "configs/base.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
    text = space if isinstance(space, str) else yaml.safe_dump(space, sort_keys=False)
    (folder / "space.yaml").write_text(text, encoding="utf-8")
    places = {"config": "configs/base.yaml", "search": "space.yaml", "storage": "studies.db", "results": "results"}
    return ["tune", *(text for name, path in places.items() for text in (f"--{name}", str(folder / path)))]


def records(folder, study="configs-base"):
    """The rows of trials.csv."""
    with (folder / "results/tune" / study / "trials.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def without_seconds(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def trials_of(folder, study="configs-base"):
    """The trials as Optuna keeps them."""
    return optuna.load_study(study_name=study, storage=f"sqlite:///{folder}/studies.db").get_trials()


def tune_until_killed(argv, at_batch):
    """`mmrns tune` in a process that is killed when it asks for its `at_batch`-th batch; returns its exit code."""
    child = stopped._CONTEXT.Process(target=_killed, args=(argv, at_batch))
    child.start()
    child.join(120)
    return child.exitcode


def _killed(argv, at_batch):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    asked, original = [], Batches.rows

    def rows(self, *arguments):
        asked.append(arguments)
        if len(asked) == at_batch:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *arguments)

    Batches.rows = rows
    sys.exit(main(argv))


def refuse(capsys, argv):
    """The one line of a command that must fail."""
    capsys.readouterr()
    try:
        status = main([str(argument) for argument in argv])
    except SystemExit as stop:
        status = stop.code
    written = capsys.readouterr()
    lines = written.err.splitlines()
    assert (status, written.out, len(lines)) == (2, "", 1), lines
    return lines[0]


def fake_training(monkeypatch, curve):
    """Training is replaced by a curve: a function of the configuration that gives the metric at steps 1, 2, ..."""

    def train(config, resume, on_validation, rank_test):
        assert rank_test is False
        values = curve(config)
        for step, value in enumerate(values, start=1):
            on_validation(step, {"mrr": value})
        return {"best": max(values)}

    monkeypatch.setattr(tuning, "train", train)
