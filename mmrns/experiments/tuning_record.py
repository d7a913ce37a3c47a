"""The record of a search: results/tune/<study>/trials.csv, best.yaml and search.json."""

import csv
import io
import os
import shlex
from collections import Counter
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from mmrns.experiments.cells import MACHINE_OPTIONS
from mmrns.experiments.grid import shown
from mmrns.experiments.study import STARTUP, Search
from mmrns.files import write_json, write_text
from mmrns.training.run_folder import environment

_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "begun",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class TrialRow:
    """A trial as tables show it.

    Attributes:
        state: complete, pruned, failed (by something other than its values), or begun.
        value: on valid, of the weights that the run selects; of a trial that did not end, the best so far; None before
            the first validation.
        step: of the last validation.
        seconds: of training and validation, up to the last validation.
        why: it did not end.
    """

    number: int
    state: str
    value: float | None
    step: int
    seconds: float
    why: str
    options: dict[str, Any]

    @classmethod
    def of(cls, trial: FrozenTrial) -> "TrialRow":
        """The row of an Optuna trial."""
        values = trial.intermediate_values
        return cls(
            trial.number,
            _STATES[trial.state],
            trial.value if trial.state == TrialState.COMPLETE else max(values.values(), default=None),
            max(values, default=0),
            trial.user_attrs.get("seconds", 0.0),
            trial.user_attrs.get("why", ""),
            dict(trial.params),
        )

    def __str__(self) -> str:
        value = "no value" if self.value is None else f"{self.value:.4f}"
        why = f" ({self.why})" if self.why else ""
        return f"{self.state}{why}: {value}, {self.step} steps, {self.seconds:.0f} s"


def trial_rows(study: optuna.Study) -> list[TrialRow]:
    """Every trial by number."""
    return [TrialRow.of(trial) for trial in study.get_trials(deepcopy=False)]


def best_row(rows: list[TrialRow]) -> TrialRow | None:
    """The complete trial with the highest value, the first of equals; None without one."""
    complete = [row for row in rows if row.state == "complete" and row.value is not None]
    return max(complete, key=lambda row: (row.value, -row.number), default=None)


def importance(study: optuna.Study) -> dict[str, float]:
    """Share of each option in how the complete trials' values vary (fANOVA, Hutter et al., ICML 2014), largest first.

    {} where fewer than five are complete, or all are equal.
    """
    complete = [row for row in trial_rows(study) if row.state == "complete"]
    if len(complete) < STARTUP or len({row.value for row in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return {
        name: float(part) for name, part in optuna.importance.get_param_importances(study, evaluator=evaluator).items()
    }


def summary(study: optuna.Study) -> dict[str, Any]:
    """The study's trials, its best one and the importance of options, as plain values."""
    rows = trial_rows(study)
    best = best_row(rows)
    return {
        "study": study.study_name,
        "trials": [asdict(row) for row in rows],
        "counted": sum(row.state in ("complete", "pruned") for row in rows),
        "best": asdict(best) if best else None,
        "importance": importance(study),
    }


def write_record(study: optuna.Study, search: Search, folder: Path) -> None:
    """Write trials.csv, best.yaml (once a trial is complete) and search.json."""
    rows = [row for row in trial_rows(study) if row.state in ("complete", "pruned", "failed")]
    best = best_row(rows)
    write_text(folder / "trials.csv", _csv(rows, list(search.space.dimensions)))
    if best:
        write_text(folder / "best.yaml", _best(best, search, folder))
    counts = Counter(row.state for row in rows)
    identity = search.identity
    described = environment()
    described["versions"]["optuna"] = version("optuna")
    # Other processes and other machines may have a part in the study: what is said here is of the last writer.
    record = {
        "study": search.name,
        "command": f"mmrns tune {shlex.join(command(search, counts['complete'] + counts['pruned']))}",
        "metric": f"{search.config.metric} on valid",
        "trials": {state: counts[state] for state in ("complete", "pruned", "failed")},
        "counted": counts["complete"] + counts["pruned"],
        "best": asdict(best) if best else None,
        **{name: identity[name] for name in ("pair", "seed", "pruner", "space")},
        "options": {name: value for name, value in identity["options"].items() if name not in MACHINE_OPTIONS},
        "environment": {name: described[name] for name in ("git_commit", "git_dirty", "python", "cpus", "versions")},
    }
    write_json(folder / "search.json", record)


def command(search: Search, trials: int) -> list[str]:
    """Arguments of `mmrns tune` that search so again, without folders of this machine."""
    given = ["--config", str(shown(search.config_file)), "--search", str(shown(search.space.file))]
    given += ["--study", search.name, "--trials", str(trials)]
    if _settings(search):
        given += ["--set", *_settings(search)]
    if search.pair:
        given += ["--pair", search.pair]
    return [*given, "--seed", str(search.seed), "--pruner", search.pruner]


def _settings(search: Search) -> list[str]:
    """--set as given, what a machine decides left out."""
    return [f"{name}={value}" for name, value in search.settings.items() if name not in MACHINE_OPTIONS]


def unequal_pairs(records: list[dict[str, Any]]) -> list[str]:
    """A line on each recorded search whose pair is not recorded, or has another number of trials."""
    counts = {record["study"]: record["counted"] for record in records}
    return [
        f"{record['study']}: {record['counted']} trials, its pair {record['pair']} {counts.get(record['pair'], 'none')}"
        for record in records
        if record["pair"] and counts.get(record["pair"]) != record["counted"]
    ]


def _csv(rows: list[TrialRow], options: list[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "state", "value", "step", "seconds", "why", *options])
    for row in rows:
        value = "" if row.value is None else f"{row.value:.6f}"
        chosen = [row.options.get(name, "") for name in options]
        writer.writerow([row.number, row.state, value, row.step, row.seconds, row.why, *chosen])
    return text.getvalue()


def _best(best: TrialRow, search: Search, folder: Path) -> str:
    """A configuration: the one that was tuned, with the values of the best trial. Settings of the search stay away."""
    place = folder.resolve()
    file = Path(os.path.relpath(search.config_file.resolve(), place)).as_posix()
    settings = f"; searched with {' '.join(_settings(search))}" if _settings(search) else ""
    return (
        f"# Trial {best.number} of {search.name}: {search.config.metric} on valid {best.value:.4f}{settings}.\n"
        f"{yaml.safe_dump({'extends': file}, allow_unicode=True)}"
        f"{yaml.safe_dump(best.options, sort_keys=False, allow_unicode=True)}"
    )
