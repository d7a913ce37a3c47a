"""What answers questions of a graph, whether one trained model or several as one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from mmrns.config import Config
from mmrns.errors import UserError
from mmrns.files import read_object
from mmrns.graph import Dataset, Vocabulary
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.graph.dataset import Split, load_dataset
from mmrns.scoring import Ranker
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


@dataclass(frozen=True, eq=False)
class Answerer(ABC):
    """A folder's model with the names of its rows: a run's (`TrainedModel`) or an ensemble's (`TrainedEnsemble`).

    Attributes:
        run: the folder, where probabilities and predictions are kept.
        config: of the run, or of an ensemble's first member.
    """

    run: RunFolder
    config: Config
    model: Ranker
    entities: Vocabulary
    relations: Vocabulary

    def predict(
        self,
        *,
        head: str | None = None,
        relation: str,
        tail: str | None = None,
        k: int = 10,
        dataset: Dataset | str | Path | None = None,
    ) -> list[Prediction]:
        """The k most plausible answers of (head, relation, ?) or (?, relation, tail).

        Args:
            head, tail: exactly one of them, as id or label.
            relation: id or label.
            dataset: the graph the run was trained on, or its name or folder, to mark known answers; None marks none.

        Raises:
            UserError: unknown or ambiguous name, both or neither end given, or a dataset that cannot be read or has
                other entities.
        """
        if (head is None) == (tail is None):
            raise UserError("--head, --tail: give exactly one of them; the other end is what is predicted")
        if k < 1:
            raise UserError(f"-k {k}: ask for at least 1 answer")
        direction = TAIL if head is not None else HEAD
        if isinstance(dataset, str | Path):
            dataset = load_dataset(dataset)
        name, flag = (head, "--head") if head is not None else (tail, "--tail")
        anchor = torch.tensor([self.entities.find(str(name), flag)])
        relation_row = torch.tensor([self.relations.find(relation, "--relation")])
        with torch.inference_mode():
            scores = self.model.score_all(anchor.to(self.device), relation_row.to(self.device), direction)[0]
        best = scores.topk(min(k, len(scores)))
        known = self._known(dataset, Queries(anchor, relation_row, anchor, direction)) if dataset else {}
        return [
            Prediction(rank, self.entities.ids[row], self.entities.labels[row], score, known.get(row))
            for rank, (score, row) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True), start=1)
        ]

    @property
    def device(self) -> torch.device:
        """Where the model is, and questions are asked; `model.to` moves it."""
        return next(chain(self.model.parameters(), self.model.buffers())).device

    def check_fits(self, dataset: Dataset) -> None:
        """Raise UserError when the dataset's rows are not those that were trained on."""
        self.run.check_fits(dataset)

    @abstractmethod
    def weights_sha256(self) -> str:
        """Fingerprint of all that decides the scores of a question."""

    def _known(self, dataset: Dataset, queries: Queries) -> dict[int, Split]:
        self.check_fits(dataset)
        return dataset.listed(queries)


def described_ensemble(folder: RunFolder) -> dict[str, Any] | None:
    """What metrics.json says of an ensemble, "members" and "feature_similarity"; None of a folder that holds none.

    A member's "run", there a path from the ensemble's folder, is a full one here. In older files it is a path from
    where the ensemble was ranked.
    """
    if folder.model_file.is_file() or not folder.metrics_file.is_file():
        return None
    metrics = read_object(folder.metrics_file, "rank the ensemble again")
    if not metrics.get("members"):
        return None
    members = [member | {"run": _member_path(folder, member["run"])} for member in metrics["members"]]
    return {"feature_similarity": {}} | metrics | {"members": members}


def refuse_ensemble(folder: RunFolder) -> None:
    """Raise UserError when a folder that must hold a run holds an ensemble."""
    ensemble = described_ensemble(folder)
    if ensemble:
        member = ensemble["members"][0]["run"]
        raise UserError(f"{folder.path}: an ensemble, which mmrns predict alone takes; give a member, {member}")


def _member_path(folder: RunFolder, run: str) -> str:
    beside, here = (folder.path / run).resolve(), Path(run).resolve()
    return str(here if here.is_dir() and not beside.is_dir() else beside)
