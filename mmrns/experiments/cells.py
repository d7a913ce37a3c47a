"""The runs of a grid's cells: what state each is in, and running or resuming them one after another."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from mmrns.config import Config, flag
from mmrns.config_file import read_mapping
from mmrns.encoders import EntityEncoder
from mmrns.errors import UserError
from mmrns.experiments.grid import Cell, Grid, as_text
from mmrns.features.digests import file_sha256
from mmrns.files import claimed, read_object
from mmrns.graph.dataset import dataset_folder
from mmrns.plugins import find
from mmrns.training.history import read_history
from mmrns.training.run_folder import RunFolder

# What a machine decides: runs that differ in these alone are runs of one setting.
MACHINE_OPTIONS = {
    "output", "device", "threads", "features", "feature_memory_mb", "eval_memory_mb", "log_every", "checkpoint_every",
}  # fmt: skip

Launch = Callable[[list[str]], int]


@dataclass(frozen=True)
class State:
    """Where the run of a cell's seed stands.

    Attributes:
        kind: "done", "started" (it can be resumed), "absent", or "differs": its options are not the cell's any more, or
            its members not those that it was ranked with.
        detail: the step of a started run; how a run differs.
    """

    kind: Literal["done", "started", "absent", "differs"]
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})" if self.detail else self.kind


def state_of(cell: Cell, seed: int, folder: Path) -> State:
    """The state of a run folder against what it should hold."""
    run = RunFolder(folder)
    if not run.config_file.is_file():
        return State("absent")
    changed = []
    if run.metrics_file.is_file():
        metrics = read_object(run.metrics_file, "delete it")
        beside = {member.row: folder.parent.parent / member.row / folder.name for member in cell.members}
        changed += other_members(metrics, cell)
        changed += other_weights(metrics, {row: weights_sha256(member) for row, member in beside.items()})
    changed += differences(read_mapping(run.config_file, str(run.config_file))[0], cell.config(seed))
    if changed:
        return State("differs", changed[0] + (f" and {len(changed) - 1} more" if len(changed) > 1 else ""))
    if run.metrics_file.is_file():
        return State("done")
    history = read_history(run.history_file)
    return State("started", f"step {history[-1]['step']}" if history else "no step logged yet")


def differences(kept: dict[str, Any], config: Config) -> list[str]:
    """How a run's options differ from a configuration, options of the machine left out.

    Options that a run's config.yaml does not know had their default; a dataset is the same if its folder's name is,
    and --validation auto and --precision auto are whatever they came to be.
    """
    wanted = config.model_dump()
    found = []
    for name in [*wanted, *(name for name in kept if name not in wanted)]:
        if name in MACHINE_OPTIONS:
            continue
        if name not in wanted:
            found.append(f"{name} is no option now")
            continue
        was, now = kept.get(name, Config.model_fields[name].default), wanted[name]
        if name == "dataset":
            was, now = Path(str(was)).name, Path(str(now)).name
        if name in ("validation", "precision") and now == "auto":
            continue
        if was != now:
            found.append(f"{name}: {as_text(was)}, the cell says {as_text(now)}")
    return found


def other_members(metrics: dict[str, Any], cell: Cell) -> list[str]:
    """How the members in a metrics.json differ from those of an ensemble's cell, or that there are any."""
    members = metrics.get("members", [])
    compared = {
        "members": ([Path(m["run"]).parent.name for m in members], [member.row for member in cell.members]),
        "weights": ([m["weight"] for m in members], list(cell.weights) or [1.0] * len(cell.members)),
        "feature_similarity": (metrics.get("feature_similarity", {}), cell.feature_similarity),
    }
    return [
        f"{name} {as_text(kept)}, the cell says {as_text(wanted)}"
        for name, (kept, wanted) in compared.items()
        if kept != wanted
    ]


def other_weights(metrics: dict[str, Any], now: Mapping[str, str | None]) -> list[str]:
    """How the weights of an ensemble's members were others when it was ranked; what either side lacks may be the same.

    Args:
        metrics: its metrics.json; that of a run has no members.
        now: row -> `weights_sha256` of the member there is now.
    """
    ranked = {Path(member["run"]).parent.name: member.get("weights_sha256") for member in metrics.get("members", [])}
    return [
        f"other weights of {row} than there are now"
        for row, was in ranked.items()
        if was is not None and now.get(row) not in (None, was)
    ]


def weights_sha256(folder: Path) -> str | None:
    """Fingerprint of a run's weights, as an ensemble keeps it of its members; None where there are none."""
    file = RunFolder(folder).model_file
    return file_sha256(file) if file.is_file() else None


def run_cells(
    grid: Grid,
    chosen: list[tuple[Cell, int]],
    runs: Path,
    machine: dict[str, str],
    launch: Launch,
    say: Callable[[str], None],
    redo: bool = False,
) -> list[str]:
    """Run or resume every chosen (cell, seed) that is not done; a failure does not keep the others from running.

    An ensemble is looked at again once its members have been run.

    Args:
        machine: options of the machine that hold for every run, as text, such as threads: "1".
        launch: runs `mmrns` with arguments and returns its exit status.
        say: told what happens.
        redo: remove run folders that hold other options than their cell, instead of refusing them.

    Returns:
        A line a run that failed.

    Raises:
        UserError: before anything runs, when a run folder holds other options than its cell, or features are missing.
    """
    folders = [(cell, seed, cell.folder(runs, seed)) for cell, seed in chosen]
    states = {folder: state_of(cell, seed, folder) for cell, seed, folder in folders}
    changed = [folder for folder, state in states.items() if state.kind == "differs"]
    if changed and not redo:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise UserError(
            f"{changed[0]}{more}: was run with {states[changed[0]].detail}; give --redo to remove it and run it anew, "
            "or another --runs to keep it"
        )
    undone = {folder for folder, state in states.items() if state.kind != "done"}
    todo = [
        (cell, seed, folder)
        for cell, seed, folder in folders
        if folder in undone or undone.intersection(member.folder(runs, seed) for member in cell.members)
    ]
    extra = [text for name, value in machine.items() for text in (flag(name), value)]
    for cell in {cell.name: cell for cell, _, _ in todo if not cell.members}.values():
        require_features(grid, cell, machine.get("features", ""))
    failed = []
    for number, (cell, seed, folder) in enumerate(todo, start=1):
        with claimed(folder) as free:
            if not free:
                say(f"[{number}/{len(todo)}] {cell.name} seed {seed}: another process is at it")
                continue
            state = state_of(cell, seed, folder)
            if state.kind == "done":  # by another process, meanwhile, or an ensemble of the same weights still
                continue
            missing = [m.name for m in cell.members if state_of(m, seed, m.folder(runs, seed)).kind != "done"]
            if missing:
                failed.append(f"{cell.name} seed {seed}: needs {', '.join(missing)}, which --only {missing[0]} runs")
                continue
            if state.kind == "differs" and not redo:  # since the check above, by another process, or its members do
                failed.append(f"{cell.name} seed {seed}: was run with {state.detail} ({folder}); --redo runs it anew")
                continue
            if state.kind == "differs" or (state.kind == "started" and cell.members):
                shutil.rmtree(folder)
            if state.kind == "started" and not cell.members:
                arguments = ["train", "--resume", str(folder), *extra]
            else:
                arguments = [*cell.arguments(seed, runs), "--output", str(folder), *([] if cell.members else extra)]
            say(f"[{number}/{len(todo)}] {cell.name} seed {seed}, {state}: mmrns {shlex.join(arguments)}")
            status = launch(arguments)
            if status:
                failed.append(f"{cell.name} seed {seed}: mmrns {arguments[0]} ended with status {status} ({folder})")
    return failed


def require_features(grid: Grid, cell: Cell, folder: str = "") -> None:
    """Raise UserError unless there are the features that the cell compares and its group says it needs.

    They are looked for in `folder`, else where the cell's configuration says.
    """
    group, config = grid.groups[cell.group], cell.config()
    folder = folder or config.features
    needed = modalities_used(config, group.needs)
    if not needed:
        return
    manifest = (Path(folder) if folder else dataset_folder(config.dataset)) / "features.json"
    try:
        there = set(json.loads(manifest.read_text(encoding="utf-8"))["modalities"])
    except (OSError, ValueError, KeyError, TypeError):
        there = set()
    missing = [name for name in needed if name not in there]
    if missing:
        mend = f"; make them with: {group.extract}" if group.extract else ""
        raise UserError(f"{manifest}: has no {' and '.join(missing)} features, which {cell.name} needs{mend}")


def modalities_used(config: Config, available: Collection[str]) -> list[str]:
    """Those of the available modalities that a run learns from: all by its encoder, or those its sampler compares."""
    encoder: type[EntityEncoder] = find("--encoder", config.encoder, "mmrns.encoders", EntityEncoder)
    compared = config.modalities.split(",") if config.samples and config.sampler == "mmrns" else []
    return [name for name in available if encoder.uses_features or name in compared]


def launch_mmrns(arguments: list[str]) -> int:
    """Run `mmrns` in a process of its own, so that each run has its own memory and measures its own.

    A SIGTERM to this process, or Ctrl-C, is passed on, and the run is left in a state that resumes.
    """
    process = subprocess.Popen([sys.executable, "-m", "mmrns", *arguments], close_fds=False)
    stopped = False

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        if process.poll() is None:
            process.send_signal(number)

    previous = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if stopped:
        raise KeyboardInterrupt
    return status
