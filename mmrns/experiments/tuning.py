"""Tuning on valid: every trial is a run that ranks valid and never test, and what was found is recorded."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch
from optuna.trial import Trial, TrialState

from mmrns.config_file import read_mapping
from mmrns.config_io import load_config
from mmrns.errors import DivergedError, StoppedError, UserError
from mmrns.experiments.cells import differences
from mmrns.experiments.grid import as_text
from mmrns.experiments.study import STARTUP, Search, begin_study, counted, leave, locked, next_trial
from mmrns.experiments.tuning_record import TrialRow, write_record
from mmrns.files import lock_file
from mmrns.training.loop import train
from mmrns.training.run_folder import RunFolder


@dataclass(frozen=True)
class _Outcome:
    """How a trial ended: its best value on valid if it is complete, why if not, and an error that ends the search."""

    state: TrialState
    value: float | None = None
    why: str = ""
    error: Exception | None = None


def tune(search: Search, trials: int, results: Path, say: Callable[[str], None], keep: bool = False) -> optuna.Study:
    """Run trials until `trials` of the study have ended or were pruned, or are being run by other processes.

    A trial that diverges, or whose values the configuration refuses together, counts as pruned: it was tried.

    Args:
        trials: over all calls and processes.
        results: folder of the record, which is written after each trial.
        say: told what happens.
        keep: leave the trials' run folders, which are else removed.

    Raises:
        StoppedError: asked to stop; the trial goes on at the next call.
        UserError: the study is another search's, or what fails any trial, e.g. there is no such dataset.
    """
    study = begin_study(search)
    study.pruner = optuna.pruners.NopPruner()
    if search.pruner == "median":
        study.pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP)
    own = search.space.own_values(search.config)
    for name in search.space.outside(own):
        say(f"{name}: {as_text(own[name])} lies outside of the space, so the configuration's own values are not tried")
    while True:
        with next_trial(study, search, trials) as trial:
            if trial is None:
                break
            values = ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())
            say(f"[{counted(study) + 1}/{trials}] trial {trial.number}: {values}")
            folder = search.folder(trial)
            outcome = _run(study, trial, search, folder)
            with locked(search.storage):
                if outcome.why:
                    trial.set_user_attr("why", outcome.why)
                study.tell(trial, outcome.value, outcome.state)
                write_record(study, search, results)
                if not keep:
                    shutil.rmtree(folder, ignore_errors=True)
                # The lock of a trial that has ended is nobody's any more.
                lock_file(folder).unlink(missing_ok=True)
            say(f"    {TrialRow.of(study.get_trials(deepcopy=False)[trial.number])}")
            if outcome.error:
                raise outcome.error
    with locked(search.storage):
        write_record(study, search, results)
    return study


def _run(study: optuna.Study, trial: Trial, search: Search, folder: Path) -> _Outcome:
    """Train a trial to its end, or on from where it was left; UserError when its folder holds another's run."""
    frozen = study.get_trials(deepcopy=False)[trial.number]
    reported, spent, started = set(frozen.intermediate_values), frozen.user_attrs.get("seconds", 0.0), time.monotonic()
    run = RunFolder(folder)

    def on_validation(step: int, metrics: dict[str, float]) -> None:
        trial.set_user_attr("seconds", round(spent + time.monotonic() - started, 1))
        if step not in reported:  # a trial that goes on may validate its last step again
            trial.report(metrics[search.config.metric], step)
            reported.add(step)
        # The first validation says little: the learning rate may still be rising.
        if len(reported) > 1 and trial.should_prune():
            raise optuna.TrialPruned

    try:
        config = load_config({**search.settings, **trial.params, "output": str(folder)}, search.config_file)
    except UserError as error:
        return _Outcome(TrialState.PRUNED, why=str(error))
    begun = run.config_file.is_file()
    changed = differences(read_mapping(run.config_file, str(run.config_file))[0], config) if begun else []
    if changed:
        leave(trial)
        said = changed[0].replace(", the cell says", f", trial {trial.number} has")
        raise UserError(f"{folder}: holds another run ({said}); move or remove it, and the trial begins anew")
    try:
        metrics = train(config, begun, on_validation, rank_test=False)
    except optuna.TrialPruned:
        return _Outcome(TrialState.PRUNED, why="below the median")
    except (DivergedError, torch.OutOfMemoryError) as error:
        return _Outcome(TrialState.PRUNED, why=str(error).splitlines()[0])
    except StoppedError:
        leave(trial)
        raise StoppedError(f"stopped in trial {trial.number}; the same command goes on from there") from None
    except Exception as error:
        return _Outcome(TrialState.FAIL, why=str(error).partition("\n")[0], error=error)
    return _Outcome(TrialState.COMPLETE, metrics["best"])


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
