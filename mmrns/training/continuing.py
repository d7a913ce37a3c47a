"""Which options a run may change when it goes on."""

from pathlib import Path
from typing import Any

from mmrns.config import Config, flag
from mmrns.errors import UserError
from mmrns.graph.dataset import dataset_folder
from mmrns.training.run_folder import RunFolder

# They leave the trajectory of a run as it is, or make it longer.
RESUMABLE = {
    "steps", "epochs", "patience", "device", "threads", "features", "feature_memory_mb", "eval_memory_mb", "log_every",
    "checkpoint_every",
}  # fmt: skip


def as_begun(config: Config, run: RunFolder) -> Config:
    """The configuration with which a run goes on: what was left open stays what it came to be when the run was begun.

    Raises:
        UserError: the folder holds no run, or one with another option that would change its course.
    """
    kept = run.read_config().model_copy(update={"output": str(run.path)})
    open_still = [name for name in ("precision", "validation") if getattr(config, name) == "auto"]
    config = config.model_copy(update={name: getattr(kept, name) for name in open_still})
    now = config.model_copy(update={"output": str(config.run_folder)})
    for name in Config.model_fields:
        if name not in RESUMABLE and not _same(name, getattr(now, name), getattr(kept, name)):
            raise UserError(f"{flag(name)}: cannot change when a run is resumed; start a new run with another --output")
    return config


def _same(name: str, now: Any, kept: Any) -> bool:
    """Whether an option is unchanged; a folder may be written in several ways."""
    if name in ("dataset", "output"):
        return bool(now == kept or _place(name, now) == _place(name, kept))
    return bool(now == kept)


def _place(name: str, folder: str) -> Path:
    try:
        return (dataset_folder(folder) if name == "dataset" else Path(folder)).resolve()
    except UserError:  # the dataset is no longer where the run found it
        return Path(folder).resolve()
