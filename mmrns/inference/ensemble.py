"""Several runs that answer as one: their ranks and metrics, in a folder of its own."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmrns.errors import UserError
from mmrns.features import FeatureStore
from mmrns.features.digests import model_sha256
from mmrns.files import read_object, write_json
from mmrns.graph import Dataset
from mmrns.graph.held_out import dataset_of
from mmrns.inference.answerer import Answerer, described_ensemble
from mmrns.inference.trained import TrainedModel, load
from mmrns.memory import peak_memory_mb
from mmrns.processes import device_of, launched
from mmrns.scoring import Ensemble, FeatureSimilarity
from mmrns.training.loop import open_features, rank_splits
from mmrns.training.run_folder import RunFolder, environment

# Which triples a run may be judged on.
_SHARED = ("validation", "held_out", "held_out_seed")


@dataclass(frozen=True, eq=False)
class TrainedEnsemble(Answerer):
    """Members that answer as one; the folder says which, and they stay in theirs."""

    model: Ensemble
    members: tuple[TrainedModel, ...]

    def check_fits(self, dataset: Dataset) -> None:
        """Raise UserError when the dataset's rows are not those the members were trained on."""
        self.members[0].check_fits(dataset)

    def weights_sha256(self) -> str:
        """Of the members' parameters, the features that likeness is judged by, and the weights."""
        return hashlib.sha256(json.dumps([model_sha256(self.model), self.model.weights]).encode()).hexdigest()


def load_answerer(run: str | Path) -> Answerer:
    """Load what a folder answers with onto the CPU: a run, as `load` does, or an ensemble that was ranked into it.

    Raises:
        UserError: neither of them, a member that is gone, or features whose likeness counts that are gone or others
            than it was ranked with (older ensembles do not say).
    """
    folder = RunFolder(Path(run))
    described = described_ensemble(folder)
    if described is None:
        return load(run)
    try:
        members = [load(member["run"]) for member in described["members"]]
        weights, alike = [member["weight"] for member in described["members"]], described["feature_similarity"]
        config = members[0].config
        features = open_features(dataset_of(config), config, torch.device("cpu")) if alike else None
        if features and described.get("features_sha256") not in (None, features.sha256):
            raise UserError(
                f"{features.path.parent} holds other features than it was ranked with; put those there, or rank it anew"
            )
        return _as_one(folder, members, weights, features, alike)
    except UserError as error:
        raise UserError(f"{run}: an ensemble, not all of which can be read ({error})") from error


def evaluate_ensemble(
    runs: Sequence[str | Path],
    output: str | Path,
    weights: Sequence[float] | None = None,
    feature_similarity: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Rank valid and test with finished runs of one graph, and the likeness of features; see `mmrns.scoring.Ensemble`.

    `output` becomes a folder with metrics.json, ranks.parquet and ranks-valid.parquet as of a run, config.yaml of the
    first member, and environment.json. Nothing is chosen here: weights, and which runs, are for the caller to choose
    on valid. Processes that torchrun started rank together.

    Args:
        weights: a positive number a run; None: 1 each.
        feature_similarity: modality -> the positive weight of `FeatureSimilarity` in it, of the features that the first
            run's configuration points to, or those of the dataset.

    Returns:
        What metrics.json holds; {} in all processes but the main one.

    Raises:
        UserError: one run and nothing beside it, a run that is not finished, runs of other graphs or with another
            validation slice, weights that do not fit, features that are not there, or an output folder that holds
            something.
    """
    names = [str(run) for run in runs]
    weights = [1.0] * len(names) if weights is None else list(weights)
    alike = dict(feature_similarity or {})
    if len(names) + len(alike) < 2:
        raise UserError(
            "mmrns ensemble: give at least two runs, or --feature-similarity; one alone is ranked by mmrns evaluate"
        )
    if len(weights) != len(names) or not all(map(_is_weight, weights)):
        raise UserError(f"--weights {' '.join(map(str, weights))}: give {len(names)} positive numbers, one a run")
    for modality, weight in alike.items():
        if not _is_weight(weight):
            raise UserError(f"--feature-similarity {modality}={weight}: give a positive number")
    members = [load(name) for name in names]
    courses, digests = [_finished(member) for member in members], [member.weights_sha256() for member in members]
    first = members[0]
    for name, member in zip(names[1:], members[1:], strict=True):
        check_alike(names[0], first, name, member)
    together = launched(first.config.device)
    dataset = dataset_of(first.config)
    first.check_fits(dataset)
    folder, config = RunFolder(Path(output)), first.config.model_copy(update={"output": str(output)})
    device = device_of(config.device)
    features = open_features(dataset, config, device)
    ensemble = _as_one(folder, members, weights, features, alike)
    with folder.held(together):
        if together.main:
            folder.claim(config, resumable=False)
        together.wait()
        parts = rank_splits(
            ("valid", "test"), folder, ensemble.model.to(device), dataset, features, config, device, together
        )
        if not together.main:
            return {}
        described = [
            {
                "run": os.path.relpath(member.run.path.resolve(), folder.path.resolve()),
                "weight": weight,
                "weights_sha256": digest,
            }
            for member, weight, digest in zip(members, weights, digests, strict=True)
        ]
        of_features = {"features_sha256": features.sha256} if features and alike else {}
        metrics = courses[0] | {
            "members": described,
            "feature_similarity": alike,
            "triples_sha256": dataset.triples_sha256,
            **of_features,
            "steps": sum(course["steps"] for course in courses),
            "train_seconds": sum(course["train_seconds"] for course in courses),
            **parts,
            "peak_memory_mb": peak_memory_mb(),
        }
        write_json(folder.environment_file, environment())
        write_json(folder.metrics_file, metrics)
        return metrics


def _as_one(
    folder: RunFolder,
    members: Sequence[TrainedModel],
    weights: Sequence[float],
    features: FeatureStore | None,
    alike: Mapping[str, float],
) -> TrainedEnsemble:
    models = [member.model for member in members]
    similarities = [_similarity(features, modality) for modality in alike]
    model = Ensemble([*models, *similarities], [*weights, *alike.values()]).eval()
    first = members[0]
    return TrainedEnsemble(folder, first.config, model, first.entities, first.relations, tuple(members))


def _is_weight(number: float) -> bool:
    return 0 < number < float("inf")


def _similarity(features: FeatureStore | None, modality: str) -> FeatureSimilarity:
    there = list(features.modalities) if features else []
    if features is None or modality not in there:
        known = f"there are {', '.join(there)}" if there else "the dataset has none: run mmrns extract first"
        raise UserError(f"--feature-similarity {modality}: no such features; {known}")
    return FeatureSimilarity(features.mean_tokens(modality))


def _finished(member: TrainedModel) -> dict[str, Any]:
    """What a run's metrics.json says of its course: all but what was measured on a split or of a step alone."""
    path = member.run.metrics_file
    if not path.is_file():
        raise UserError(f"{member.run.path}: not finished (no metrics.json); mmrns train --resume {member.run.path}")
    kept = read_object(path, "delete it and resume the run")
    left_out = ("valid", "test", "steps_per_second", "peak_memory_mb")
    return {name: value for name, value in kept.items() if name not in left_out}


def check_alike(first_name: str, first: TrainedModel, name: str, other: TrainedModel) -> None:
    """Raise UserError unless both were trained on one graph and may be judged on the same triples."""
    for kind, mine, theirs in (
        ("entities", first.entities, other.entities),
        ("relations", first.relations, other.relations),
    ):
        if mine.sha256 != theirs.sha256:
            raise UserError(f"{name}: has other {kind} than {first_name}; give runs of one dataset")
    for option in _SHARED:
        mine, theirs = getattr(first.config, option), getattr(other.config, option)
        if mine != theirs:
            raise UserError(
                f"{name}: has {option} {theirs}, {first_name} {mine}: what one was judged on, the other was trained on"
            )
