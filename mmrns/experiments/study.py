"""The Optuna study of a search: its file, its identity, and which trial comes next.

The list of trials is read and changed under one file lock, and a trial that runs holds a lock of its own, which goes
with its process however that ends. So several processes may search one study, no trial is lost, and the number of
trials is exact.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from mmrns.config import Config, options_by_section
from mmrns.config_io import load_config
from mmrns.errors import UserError
from mmrns.experiments.cells import MACHINE_OPTIONS, differences
from mmrns.experiments.grid import as_text
from mmrns.experiments.search_space import SearchSpace
from mmrns.files import claimed
from mmrns.training.batches import derived_seed

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)
STARTUP = 5  # trials before the sampler learns from them, and before any is pruned
_IDENTITY = "search"
# Attributes of a trial: whether it runs in `Search.trials_folder`; the last validations before each kill, None once it
# was left in another way.
_OWN_PLACE, _KILLED_AT = "own_place", "killed_at"
_ATTEMPTS = 3


@dataclass(frozen=True)
class Search:
    """What is tuned, over what, and where the study is kept.

    Attributes:
        name: of the study.
        storage: SQLite file of the study; trials run in STORAGE-trials/<name> beside it, which no other storage shares.
        config_file, settings: the configuration that is tuned, and options that differ from it.
        space: what is varied.
        seed: of what the search draws; runs keep the configuration's seed.
        pruner: median stops a trial whose best so far is below the median of others at the same step.
        pair: the study that this one must have the trials of, or "".
    """

    name: str
    storage: Path
    config_file: Path
    settings: dict[str, str]
    space: SearchSpace
    seed: int
    pruner: Literal["median", "none"]
    pair: str

    @cached_property
    def config(self) -> Config:
        """The configuration with the settings."""
        return load_config(self.settings, self.config_file)

    @property
    def identity(self) -> dict[str, Any]:
        """What may not change while the study goes on; plain values."""
        kept = self.config.model_dump()
        options = {name: value for name, value in kept.items() if name not in self.space.dimensions}
        rules = {"seed": self.seed, "pruner": self.pruner, "pair": self.pair}
        return {"options": options, "space": self.space.described(), **rules}

    @property
    def trials_folder(self) -> Path:
        """Where new trials run."""
        return self.storage.with_name(f"{self.storage.name}-trials") / self.name

    def folder(self, trial: Trial | FrozenTrial) -> Path:
        """Where a trial runs; one of before there was `trials_folder` stays where it was begun."""
        own = trial.user_attrs.get(_OWN_PLACE)
        return (self.trials_folder if own else self.storage.parent / self.name) / f"trial-{trial.number}"


@contextlib.contextmanager
def locked(storage: Path) -> Iterator[None]:
    """Wait for, and hold, the lock of a storage."""
    with claimed(storage, wait=True):
        yield


def open_study(storage: Path, name: str) -> optuna.Study:
    """A study that exists; UserError names the studies there are when it is not among them."""
    if not storage.is_file():
        raise UserError(f"--storage {storage}: no such file; search first, or give the storage of a search")
    kept = _storage(storage)
    names = optuna.get_all_study_names(kept)
    if name not in names:
        raise UserError(f"--study {name}: {storage} has no such study; it has {', '.join(sorted(names)) or 'none'}")
    study = optuna.load_study(study_name=name, storage=kept)
    identity_of(study, storage)
    return study


def begin_study(search: Search) -> optuna.Study:
    """The study of a search, made anew or gone on with.

    Raises:
        UserError: the storage cannot be read, or holds a study of this name with another space or other options; or it
            lacks it, and trials of one that was there before still lie in its folder: they are not taken over, and not
            removed either, since --keep may have kept them.
    """
    with locked(search.storage):
        kept = _storage(search.storage)
        if search.name not in optuna.get_all_study_names(kept):
            _refuse_leftovers(search.trials_folder.glob("trial-*"))
        study = optuna.create_study(storage=kept, study_name=search.name, direction="maximize", load_if_exists=True)
        if not study.user_attrs and not study.get_trials(deepcopy=False):
            study.set_user_attr(_IDENTITY, search.identity)
        changed = _changed(identity_of(study, search.storage), search)
    if changed:
        raise UserError(
            f"--study {search.name}: {search.storage} holds it with {changed}; give another --study to search anew"
        )
    return study


def _refuse_leftovers(folders: Iterable[Path]) -> None:
    """Raise UserError where there is a folder of a trial that is yet to be drawn."""
    for folder in folders:
        if folder.exists():
            raise UserError(
                f"{folder}: was left by another study; move or remove {folder.parent}, or give another --storage"
            )


def identity_of(study: optuna.Study, storage: Path) -> dict[str, Any]:
    """Search.identity of a study, as it is kept."""
    identity = study.user_attrs.get(_IDENTITY)
    if not isinstance(identity, dict):
        raise UserError(f"--study {study.study_name}: {storage} holds a study that mmrns tune did not make")
    return identity


def _changed(was: dict[str, Any], search: Search) -> str:
    """How a kept identity differs from that of a search; "" where it does not."""
    now = search.identity
    for name in [*was["space"], *(name for name in now["space"] if name not in was["space"])]:
        dimension, other = was["space"].get(name), now["space"].get(name)
        if dimension != other:
            shown = [as_text(d) if d else f"no {name}" for d in (dimension, other)]
            return f"another space, {name}: {shown[0]}, now {shown[1]}"
    kept = {name: now["options"].get(name) for name in search.space.dimensions}
    kept |= {name: getattr(search.config, name) for name in search.space.dimensions}
    changed = differences(was["options"] | kept, search.config)
    if changed:
        return "other options, " + changed[0].replace(", the cell says", ", now")
    rules = [name for name in ("seed", "pruner", "pair") if was[name] != now[name]]
    return f"--{rules[0]} {was[rules[0]] or 'not given'}, now {now[rules[0]] or 'not given'}" if rules else ""


def _storage(file: Path) -> optuna.storages.RDBStorage:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Braces would be taken for a template of Optuna's.
        url = f"sqlite:///{str(file.absolute()).replace('{', '{{').replace('}', '}}')}"
        return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
    except (SQLAlchemyError, RuntimeError, AssertionError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--storage {file}: not a file of Optuna's ({reason}); give another file") from None


def counted(study: optuna.Study) -> int:
    """Trials that ended or were pruned: those that a search is measured by."""
    return sum(trial.state in COUNTED for trial in study.get_trials(deepcopy=False))


def pair_trials(search: Search) -> int:
    """How many trials the pair of a search has, once it is seen to have been searched as this is.

    Raises:
        UserError: there is no such study, or it has other data, steps, seed or pruner, or a dimension that the search
            lacks: the two could not be compared.
    """
    with locked(search.storage):
        other = open_study(search.storage, search.pair)
        trials = counted(other)
    was, now = identity_of(other, search.storage), search.identity
    unlike = [name for name in ("seed", "pruner") if was[name] != now[name]]
    budget = {name for section in ("Data", "Run", "Selection", "Evaluation") for name in options_by_section()[section]}
    unlike += [
        name
        for name in sorted(budget - MACHINE_OPTIONS)
        if was["options"].get(name) != now["options"].get(name) and name not in was["space"]
    ]
    unlike += [name for name, dimension in was["space"].items() if now["space"].get(name) != dimension]
    if unlike:
        raise UserError(f"--pair {search.pair}: was searched with another {unlike[0]}; the two would not compare")
    return trials


@contextlib.contextmanager
def next_trial(study: optuna.Study, search: Search, trials: int) -> Iterator[Trial | None]:
    """The next trial, which is this process's alone within the context; None where enough ended or are being run.

    A trial that a process left behind goes on before a new one is drawn. The first is the configuration's own values,
    where they lie in the space. What is drawn depends on the seed, the trial's number and the trials before it alone.

    Raises:
        UserError: another process is at work in the trial's folder, or something lies where a new trial would run.
    """
    with contextlib.ExitStack() as held:
        trial = None
        with locked(search.storage):
            running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            left_behind = [frozen for frozen in running if is_free(search.folder(frozen))]
            if counted(study) + len(running) - len(left_behind) < trials:
                trial = _taken_up(study, left_behind) or _drawn(study, search)
                folder = search.folder(trial)
                if not held.enter_context(claimed(folder)):
                    raise UserError(f"{folder}: another process is at it; wait for it to end, or stop it")
        yield trial


def is_free(folder: Path) -> bool:
    """Whether no process works on a trial's folder."""
    with claimed(folder) as free:
        return free


def leave(trial: Trial) -> None:
    """Note that a trial's process is about to end in an orderly way, which is no kill."""
    trial.set_user_attr(_KILLED_AT, None)


def _taken_up(study: optuna.Study, left_behind: list[FrozenTrial]) -> Trial | None:
    """The first trial that can go on; one that was killed `_ATTEMPTS` times after the same step is given up."""
    for frozen in left_behind:
        trial = Trial(study, frozen._trial_id)
        step, before = max(frozen.intermediate_values, default=0), frozen.user_attrs.get(_KILLED_AT, [])
        killed_at = [] if before is None else [*before, step]
        if killed_at.count(step) < _ATTEMPTS:
            trial.set_user_attr(_KILLED_AT, killed_at)
            return trial
        trial.set_user_attr("why", f"killed {_ATTEMPTS} times after step {step}")
        study.tell(trial, state=TrialState.FAIL)
    return None


def _drawn(study: optuna.Study, search: Search) -> Trial:
    """A new trial, its values drawn."""
    before = study.get_trials(deepcopy=False)
    own = search.space.own_values(search.config)
    tried = any(trial.params == own and trial.state != TrialState.FAIL for trial in before)
    waiting = [trial.number for trial in before if trial.state == TrialState.WAITING]
    number = len(before)
    _refuse_leftovers([search.trials_folder / f"trial-{waiting[0] if waiting else number}"])
    if not (search.space.outside(own) or tried or waiting):
        study.enqueue_trial(own)
    # A sampler anew for each trial: one that is kept would repeat its first draws when a search goes on.
    seed = derived_seed(search.seed, number) % 2**32
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed)
    trial = study.ask()
    trial.set_user_attr(_OWN_PLACE, True)
    search.space.suggest(trial)
    return trial
