"""A trained run, ready to answer: load it, evaluate it, predict with it."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download

from mmrns.config_io import dump_config
from mmrns.errors import UserError
from mmrns.features.digests import file_sha256
from mmrns.features.hub import weights_from_hub
from mmrns.files import write_text
from mmrns.graph.held_out import dataset_of
from mmrns.inference.answerer import Answerer, refuse_ensemble
from mmrns.inference.card import DATA_LICENCE, licence_of, model_card
from mmrns.processes import device_of, launched
from mmrns.scoring import KnowledgeGraphModel, model_of
from mmrns.training.loop import open_features, rank_splits
from mmrns.training.run_folder import RunFolder

# What a model needs to answer and to be judged; the rest of a run folder stays at home.
_TRAVELS = ("model.safetensors", "vocabulary.json", "metrics.json", "calibration.json")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, eq=False)
class TrainedModel(Answerer, ModelHubMixin, library_name="mmrns"):
    """A run's selected checkpoint with the names of its rows.

    `save_pretrained`, `push_to_hub` and `from_pretrained` are those of huggingface_hub. What they write and read is a
    run folder without its training state, with a model card.
    """

    model: KnowledgeGraphModel
    step: int

    _hub_mixin_config = {"library_name": "mmrns"}  # noqa: RUF012 - no field: config.json, by which the hub counts loads

    def weights_sha256(self) -> str:
        """Of the selected checkpoint."""
        return file_sha256(self.run.model_file)

    def generate_model_card(self, *args: Any, license: str | None = None, **kwargs: Any) -> ModelCard:
        """The card that `save_pretrained` writes as README.md; see mmrns/inference/card.py.

        Args:
            license: a licence's id on the hub; None refers to the licence file of the dataset.
            args, kwargs: of huggingface_hub's own template, which is not used.
        """
        return model_card(self, license)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write a run folder to load again; what is of this machine alone stays out of it."""
        for name in _TRAVELS:
            if (self.run.path / name).is_file():
                shutil.copyfile(self.run.path / name, save_directory / name)
        licence_file = licence_of(self)
        if licence_file:
            shutil.copyfile(licence_file, save_directory / DATA_LICENCE)
        places = {"dataset": Path(self.config.dataset).name, "features": "", "output": ""}
        write_text(RunFolder(save_directory).config_file, dump_config(self.config.model_copy(update=places)))

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **_: Any,
    ) -> "TrainedModel":
        """Load a folder, or download it from the hub first."""
        if Path(model_id).is_dir():
            return load(model_id)
        folder = snapshot_download(
            model_id,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=[*_TRAVELS, "config.yaml", "config.json", DATA_LICENCE],
        )
        return load(folder)


def load(run: str | Path) -> TrainedModel:
    """Load a run folder's selected checkpoint, or a model on the hub, onto the CPU.

    Only safetensors, JSON and YAML are read.

    Args:
        run: a folder; or the hub's owner/name, where there is no folder of the owner's name here.

    Raises:
        UserError: neither of them, or a damaged file in it.
    """
    path = Path(run)
    if _HUB_ID.fullmatch(str(run)) and not path.parent.exists():
        with weights_from_hub(str(run), "the folder of a run, or a model that mmrns push sent to the hub"):
            return TrainedModel.from_pretrained(str(run))
    folder = RunFolder(path)
    config = folder.read_config()
    refuse_ensemble(folder)
    entities, relations = folder.read_vocabulary()
    model = model_of(config, len(entities), len(relations), folder.encoder_inputs())
    step = folder.load_weights({"model": model})
    return TrainedModel(folder, config, model.eval(), entities, relations, step)


def evaluate(run: str | Path | Answerer, split: Literal["valid", "test"] = "test") -> dict[str, dict[str, Any]]:
    """Rank a split with a run's selected checkpoint, and write its per-query ranks into the run folder.

    Processes that torchrun or accelerate launch started rank it together: the main one writes and returns, the others
    return nothing.

    Args:
        run: as `load` takes it, or what that gave: its folder is read again.
        split: "valid" or "test".

    Returns:
        Metrics by part, as under "valid" or "test" in metrics.json.

    Raises:
        UserError: another split, a run that cannot be loaded, or a dataset that it was not trained on.
    """
    if split not in ("valid", "test"):
        raise UserError(f"split {split}: give valid or test")
    trained = load(run.run.path if isinstance(run, Answerer) else run)
    config = trained.config
    together = launched(config.device)
    dataset = dataset_of(config)
    trained.check_fits(dataset)
    device = device_of(config.device)
    features = open_features(dataset, config, device)
    model = trained.model.to(device)
    metrics = rank_splits((split,), trained.run, model, dataset, features, config, device, together)[split]
    return metrics if together.main else {}
