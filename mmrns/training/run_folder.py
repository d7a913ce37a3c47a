"""The folder of a run: what is in it, how it is claimed, and how its model is read back."""

import contextlib
import json
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mmrns.config import Config
from mmrns.config_io import dump_config, load_config
from mmrns.encoders.base import INPUT
from mmrns.errors import UserError
from mmrns.files import atomic_path, is_partial, lock_file, read_json, read_object, write_json, write_text
from mmrns.graph import Dataset, Vocabulary
from mmrns.processes import Processes


class RunFolder:
    """Paths and formats of a run folder (docs/architecture.md). Every file is written atomically."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.model_file = path / "model.safetensors"
        self.vocabulary_file = path / "vocabulary.json"
        self.state_file = path / "state.pt"
        self.metrics_file = path / "metrics.json"
        self.environment_file = path / "environment.json"
        self.events = path / "tensorboard"
        self.history_file = path / "history.jsonl"

    def ranks_file(self, split: str) -> Path:
        """Per-query ranks: ranks.parquet for test, ranks-valid.parquet for valid."""
        return self.path / ("ranks.parquet" if split == "test" else f"ranks-{split}.parquet")

    def claim(self, config: Config, resumable: bool = True) -> None:
        """Make this the folder of a new run: write config.yaml, with which it can be resumed from then on.

        Raises UserError as `check_free`.
        """
        self.check_free(resumable)
        self.clear_partial_files()
        write_text(self.config_file, dump_config(config))

    def check_free(self, resumable: bool = True) -> None:
        """Raise UserError when the folder holds something; nothing in it is touched.

        What a killed process left of files that it was writing, and its lock, are nothing.

        Args:
            resumable: whether the asking command has --resume, which the refusal then points to.
        """
        if not self.path.exists():
            return
        lock = lock_file(self.config_file)
        if not self.path.is_dir() or not all(is_partial(path) or path == lock for path in self.path.iterdir()):
            resume = f"continue it with --resume {self.path}, or " if resumable else ""
            raise UserError(f"--output {self.path}: already holds something; {resume}choose another folder")

    def held(self, together: Processes) -> contextlib.AbstractContextManager[None]:
        """Together: keep other jobs off the folder, by a lock in it; without one where none can be written.

        It is not the lock beside the folder, which whoever starts or schedules the training may hold meanwhile. Where
        no lock can be written, neither can a run, and one that has ended is read all the same.

        Raises:
            UserError: another job is at work in the folder.
        """
        busy = f"{self.path}: another process is at work on this run; wait for it to end, or stop it"
        return together.hold(self.config_file, busy, optional=True)

    def describe(
        self, config: Config, entities: Vocabulary, relations: Vocabulary, features_sha256: str, anew: bool
    ) -> None:
        """Write what the run is; of a run that goes on (not `anew`), only options that were changed.

        Args:
            features_sha256: of the features' numbers; "" without features.
        """
        if self.read_config() != config:
            write_text(self.config_file, dump_config(config))
        if not anew:
            return
        vocabulary = {
            kind: {"ids": names.ids, "labels": names.labels, "sha256": names.sha256}
            for kind, names in (("entities", entities), ("relations", relations))
        }
        described = vocabulary | {"features_sha256": features_sha256}
        write_text(self.vocabulary_file, json.dumps(described, ensure_ascii=False))
        write_json(self.environment_file, environment())

    def forget_end(self) -> None:
        """Remove the metrics and ranks of a run that goes on: they are those of an end that it no longer has."""
        for path in (self.metrics_file, self.ranks_file("test"), self.ranks_file("valid")):
            path.unlink(missing_ok=True)

    def clear_partial_files(self) -> None:
        """Remove what a killed process left of files that it was writing."""
        for path in self.path.glob(".*") if self.path.is_dir() else ():
            if is_partial(path):
                path.unlink(missing_ok=True)

    def begun(self) -> bool:
        """Whether a first state was saved; a run killed before that has nothing to continue from and starts again."""
        return self.state_file.exists() or self.metrics_file.exists() or self.saved_step() > 0

    def saved_step(self) -> int:
        """The step of model.safetensors; 0 where there is none."""
        if not self.model_file.exists():
            return 0
        try:
            with safe_open(self.model_file, framework="pt") as stored:
                return int((stored.metadata() or {}).get("step", 0))
        except (SafetensorError, OSError) as error:
            raise UserError(f"{self.model_file}: cannot be read ({error}); restore the file or train anew") from error

    def read_config(self) -> Config:
        """The run's configuration; UserError when the folder holds no run."""
        if not self.config_file.is_file():
            raise UserError(f"{self.path}: not a run folder (no config.yaml); give a folder that mmrns train wrote")
        return load_config({}, self.config_file)

    def check_fits(self, dataset: Dataset) -> None:
        """Raise UserError when the dataset's rows are not those the run was trained on."""
        for mine, theirs in zip(self.read_vocabulary(), (dataset.entities, dataset.relations), strict=True):
            if mine.sha256 != theirs.sha256:
                raise UserError(
                    f"{self.path}: was trained on other {mine.kind} names than {dataset.folder} has now; "
                    "restore that dataset or train again"
                )

    def features_sha256(self) -> str | None:
        """Of the features that the run was begun with, "" without any; None in a folder that does not say."""
        return read_object(self.vocabulary_file, "give a folder that mmrns train wrote").get("features_sha256")

    def check_features(self, features_sha256: str, where: Path) -> None:
        """Raise UserError when the features are not those that the run was begun with; `where` is what was read now."""
        begun = self.features_sha256()
        if begun not in (None, features_sha256):
            raise UserError(
                f"{self.path}: was begun with other features (or none) than {where} holds now; put its own there, or "
                f"name their folder (features: in {self.config_file}, or --features to resume it)"
            )

    def read_vocabulary(self) -> tuple[Vocabulary, Vocabulary]:
        """The run's entities and relations."""
        content = read_json(self.vocabulary_file, "give a folder that mmrns train wrote")
        try:
            entities, relations = (
                Vocabulary(kind, content[key]["ids"], content[key]["labels"])
                for kind, key in (("entity", "entities"), ("relation", "relations"))
            )
        except (KeyError, TypeError) as error:
            raise UserError(f"{self.vocabulary_file}: lacks {error}; train again or restore the file") from error
        return entities, relations

    def save_weights(self, parts: dict[str, nn.Module], step: int) -> None:
        """Write the parameters of the parts ("model", "sampler") as part.name tensors."""
        tensors = {
            f"{part}.{name}": tensor.detach().cpu().contiguous()
            for part, module in parts.items()
            for name, tensor in module.state_dict().items()
        }
        with atomic_path(self.model_file) as temporary:
            save_file(tensors, temporary, metadata={"step": str(step)})

    def encoder_inputs(self) -> dict[str, Tensor]:
        """Modality -> (E, D) features that the saved model's encoder was given; {} for a table alone."""
        prefix = f"model.entities.{INPUT}"
        try:
            with safe_open(self.model_file, framework="pt") as stored:
                names = [name for name in stored.keys() if name.startswith(prefix)]  # noqa: SIM118 - no mapping
                return {name.removeprefix(prefix): stored.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise UserError(f"{self.model_file}: cannot be read ({error}); restore the file or train anew") from error

    def load_weights(self, parts: dict[str, nn.Module], selected: int | None = None) -> int:
        """Read the parameters of the given parts back into them; returns the step they were saved at.

        Raises:
            UserError: the file cannot be read into them, or was saved at another step than `selected`.
        """
        try:
            with safe_open(self.model_file, framework="pt") as stored:
                names = list(stored.keys())
                tensors: dict[str, Tensor] = {name: stored.get_tensor(name) for name in names}
                step = int((stored.metadata() or {}).get("step", 0))
            for part, module in parts.items():
                prefix = f"{part}."
                module.load_state_dict(
                    {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
                )
        except (SafetensorError, OSError, RuntimeError) as error:
            raise UserError(
                f"{self.model_file}: cannot be read into this model ({error}); resume or train again"
            ) from error
        if selected not in (None, step):
            raise UserError(
                f"{self.model_file}: holds the weights of step {step}, not those of step {selected}, which was "
                "selected: the run was killed and went on in another way; train it anew"
            )
        return step


def environment() -> dict[str, Any]:
    """Versions, host, git commit and command: what is needed to judge or repeat a run."""
    packages = ("mmrns", "torch", "accelerate", "timm", "sentence-transformers", "transformers", "numpy", "pandas")
    return {
        "command": shlex.join(sys.argv),
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cpus": os.cpu_count(),
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_initialized() else None,  # one that is used
        "versions": {name: _version(name) for name in packages},
    }


def _git(*arguments: str) -> str | None:
    try:
        found = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
