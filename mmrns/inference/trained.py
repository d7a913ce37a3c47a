"""A trained run, ready to answer: load it, evaluate it, predict with it."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download

from mmrns.config import Config
from mmrns.config_io import dump_config
from mmrns.errors import UserError
from mmrns.features.hub import weights_from_hub
from mmrns.files import read_json, write_text
from mmrns.graph import Dataset, Vocabulary
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.graph.dataset import Split
from mmrns.graph.held_out import dataset_of
from mmrns.inference.card import DATA_LICENCE, licence_of, model_card
from mmrns.processes import device_of, launched
from mmrns.scoring import KnowledgeGraphModel, model_of
from mmrns.training.loop import open_features, rank_splits
from mmrns.training.run_folder import RunFolder


@dataclass(frozen=True)
class Prediction:
    """One answer to a query.

    Attributes:
        rank: place among all entities, from 1, known answers counted too.
        id, label: of the entity.
        score: the model's; higher is more plausible.
        known: the split that lists it as an answer, or None for a new fact.
    """

    rank: int
    id: str
    label: str
    score: float
    known: Split | None


# What a model needs to answer and to be judged; the rest of a run folder stays at home.
_TRAVELS = ("model.safetensors", "vocabulary.json", "metrics.json", "calibration.json")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, eq=False)
class TrainedModel(ModelHubMixin, library_name="mmrns"):
    """A run's selected checkpoint with the names of its rows.

    `save_pretrained`, `push_to_hub` and `from_pretrained` are those of huggingface_hub. What they write and read is a
    run folder without its training state, with a model card.
    """

    run: RunFolder
    config: Config
    model: KnowledgeGraphModel
    entities: Vocabulary
    relations: Vocabulary
    step: int

    _hub_mixin_config = {"library_name": "mmrns"}  # noqa: RUF012 - no field: config.json, by which the hub counts loads

    def predict(
        self,
        *,
        head: str | None = None,
        relation: str,
        tail: str | None = None,
        k: int = 10,
        dataset: Dataset | None = None,
    ) -> list[Prediction]:
        """The k most plausible answers of (head, relation, ?) or (?, relation, tail).

        Args:
            head, tail: exactly one of them, as id or label.
            relation: id or label.
            dataset: the graph the run was trained on, to mark known answers; None marks none.

        Raises:
            UserError: unknown or ambiguous name, both or neither end given, or a dataset with other entities.
        """
        if (head is None) == (tail is None):
            raise UserError("--head, --tail: give exactly one of them; the other end is what is predicted")
        if k < 1:
            raise UserError(f"-k {k}: ask for at least 1 answer")
        direction = TAIL if head is not None else HEAD
        name, flag = (head, "--head") if head is not None else (tail, "--tail")
        anchor = torch.tensor([self.entities.find(str(name), flag)])
        relation_row = torch.tensor([self.relations.find(relation, "--relation")])
        with torch.inference_mode():
            scores = self.model.score_all(anchor, relation_row, direction)[0]
        best = scores.topk(min(k, len(scores)))
        known = self._known(dataset, Queries(anchor, relation_row, anchor, direction)) if dataset else {}
        return [
            Prediction(rank, self.entities.ids[row], self.entities.labels[row], score, known.get(row))
            for rank, (score, row) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True), start=1)
        ]

    def check_fits(self, dataset: Dataset) -> None:
        """Raise UserError when the dataset's rows are not those the run was trained on."""
        self.run.check_fits(dataset)

    def _known(self, dataset: Dataset, queries: Queries) -> dict[int, Split]:
        self.check_fits(dataset)
        return dataset.listed(queries)

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
            allow_patterns=[*_TRAVELS, "config.yaml", "config.json"],
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
    if folder.metrics_file.is_file() and not folder.model_file.is_file():
        members = read_json(folder.metrics_file, "delete it").get("members", [])
        if members:
            raise UserError(f"{path}: holds what an ensemble ranked, and no model; give a member, {members[0]['run']}")
    entities, relations = folder.read_vocabulary()
    model = model_of(config, len(entities), len(relations), folder.encoder_inputs())
    step = folder.load_weights({"model": model})
    return TrainedModel(folder, config, model.eval(), entities, relations, step)


def evaluate(run: str | Path, split: Literal["valid", "test"] = "test") -> dict[str, dict[str, Any]]:
    """Rank a split with a run's selected checkpoint, and write its per-query ranks into the run folder.

    Processes that torchrun or accelerate launch started rank it together: the main one writes and returns, the others
    return nothing.

    Returns:
        Metrics by part, as under "valid" or "test" in metrics.json.
    """
    trained = load(run)
    config = trained.config
    together = launched(config.device)
    dataset = dataset_of(config)
    trained.check_fits(dataset)
    device = device_of(config.device)
    features = open_features(dataset, config, device)
    model = trained.model.to(device)
    metrics = rank_splits((split,), trained.run, model, dataset, features, config, device, together)[split]
    return metrics if together.main else {}
