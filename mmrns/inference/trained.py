"""A trained run, ready to answer: load it, evaluate it, predict with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from mmrns.config import Config
from mmrns.errors import UserError
from mmrns.evaluation import evaluate_split
from mmrns.files import atomic_path
from mmrns.graph import Dataset, Vocabulary
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.graph.dataset import Split
from mmrns.graph.held_out import dataset_of
from mmrns.scoring import KnowledgeGraphModel, model_of
from mmrns.training.loop import open_features
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


@dataclass(frozen=True)
class TrainedModel:
    """A run's selected checkpoint with the names of its rows."""

    run: RunFolder
    config: Config
    model: KnowledgeGraphModel
    entities: Vocabulary
    relations: Vocabulary
    step: int

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


def load(run: str | Path) -> TrainedModel:
    """Load a run folder's selected checkpoint onto the CPU, from safetensors and JSON alone.

    Raises:
        UserError: not a run folder, or a damaged file in it.
    """
    folder = RunFolder(Path(run))
    config = folder.read_config()
    entities, relations = folder.read_vocabulary()
    model = model_of(config, len(entities), len(relations), folder.encoder_inputs())
    step = folder.load_weights({"model": model})
    return TrainedModel(folder, config, model.eval(), entities, relations, step)


def evaluate(run: str | Path, split: Literal["valid", "test"] = "test") -> dict[str, dict[str, Any]]:
    """Rank a split with a run's selected checkpoint, and write its per-query ranks into the run folder.

    Returns:
        Metrics by part, as under "valid" or "test" in metrics.json.
    """
    trained = load(run)
    config = trained.config
    dataset = dataset_of(config)
    trained.check_fits(dataset)
    device = torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")
    features = open_features(dataset, config, device)
    known = dataset.answers().to(device)
    metrics, table = evaluate_split(trained.model.to(device), dataset, split, known, features, config.eval_memory_mb)
    with atomic_path(trained.run.ranks_file(split)) as temporary:
        table.to_parquet(temporary, index=False)
    return metrics
