"""A run's probabilities: fitted on valid, measured on test, kept in the run folder."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mmrns.errors import UserError
from mmrns.evaluation.calibration import (
    METHODS,
    Calibrator,
    calibration_errors,
    precision_at,
    reliability,
    threshold_by_relation,
)
from mmrns.evaluation.candidates import Candidates, Question, in_blocks, propose
from mmrns.features.digests import file_sha256
from mmrns.files import read_json, write_json
from mmrns.graph import Dataset
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.graph.dataset import SPLITS, UNUSED
from mmrns.inference.questions import Ask, block_size, loops_allowed, questions
from mmrns.inference.trained import TrainedModel

PRECISIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
CALIBRATION_FILE = "calibration.json"

# Answers a question that probabilities are fitted on, and questions at most, drawn at random from all of them.
_DEPTH, _MOST_QUESTIONS = 20, 20_000
_TEMPERATURES = tuple(2.0**power for power in np.arange(-4, 4.5, 0.5))
_CUTOFFS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000]
_FORMAT = "mmrns-calibration-1"


@dataclass(frozen=True)
class Calibration:
    """A run's probabilities: how they are made, and how good they are. RUN/calibration.json holds it.

    Attributes:
        calibrator: from candidates to probabilities, fitted on valid.
        thresholds: precision -> for each relation (by id) the least probability that reaches it on valid, or None.
        quality: of facts held out of the fit (test): "reliability" and "precision_at" of calibration.py, "by_score"
            (precision where facts are ordered by their bare score), "errors", and counts.
        made_from: fingerprint of the weights, the graph and the questions.
    """

    calibrator: Calibrator
    thresholds: dict[str, dict[str, float | None]]
    quality: dict[str, Any]
    made_from: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"format": _FORMAT, **asdict(self)}


def calibration(
    trained: TrainedModel, dataset: Dataset, ask: Ask = "type", method: str = "isotonic", progress: bool = False
) -> Calibration:
    """The run's calibration: read from RUN/calibration.json, or made and kept there.

    Valid is held out of what is known, the questions are asked, and the answers that valid lists are the true ones;
    all others count as false. So a probability is the share of such facts that turn out true when a part of the graph
    as large as valid is missing. Its quality is measured on test, with train and valid known: test teaches nothing.

    Raises:
        UserError: valid holds too few facts, or another graph than the run's.
    """
    trained.check_fits(dataset)
    made_from = fingerprint(trained, dataset) | {"ask": ask, "method": method}
    path = trained.run.path / CALIBRATION_FILE
    kept = _kept(path, made_from)
    if kept is not None:
        return kept
    made = _calibrate(trained, dataset, ask, method, made_from, progress)
    write_json(path, made.as_json())
    return made


def _kept(path: Path, made_from: dict[str, Any]) -> Calibration | None:
    """What the file holds, if it was made from the same; a damaged or older file is made anew."""
    if not path.is_file():
        return None
    try:
        values = read_json(path, "delete it")
        if values["format"] != _FORMAT or values["made_from"] != made_from:
            return None
        calibrator = Calibrator.from_json(values["calibrator"])
        return Calibration(calibrator, values["thresholds"], values["quality"], values["made_from"])
    except (UserError, KeyError, TypeError, ValueError):
        return None


def _calibrate(
    trained: TrainedModel, dataset: Dataset, ask: Ask, method: str, made_from: dict[str, Any], progress: bool
) -> Calibration:
    if method not in METHODS:
        raise UserError(f"--calibration {method}: unknown; give one of {', '.join(METHODS)}, none")
    relations = len(dataset.relations)
    asked = _sample(questions(dataset, ask))
    temperature = _temperature(trained, dataset)
    known = [dataset.answers("train"), dataset.answers("train", "valid")]
    loops = loops_allowed(dataset)
    parts: tuple[list[Candidates], list[Candidates]] = ([], [])
    blocks = list(in_blocks(asked, block_size(trained, dataset)))
    for block in tqdm(blocks, desc="calibrate", unit="block", disable=None if progress else True):
        proposed = propose(trained.model, block, known, _DEPTH, temperature, loops[block.relation])
        for part, candidates in zip(parts, proposed, strict=True):
            part.append(candidates)
    valid, test = map(Candidates.joined, parts)
    true = valid.true_in(dataset.answers("valid"))
    calibrator = Calibrator.fit(valid, true, relations, temperature, method)
    probability = calibrator.probability(calibrator.log_odds(valid))
    thresholds = {
        str(target): dict(
            zip(
                dataset.relations.ids,
                threshold_by_relation(probability, true, valid.relation, relations, target),
                strict=True,
            )
        )
        for target in PRECISIONS
    }
    quality = _quality(calibrator, test, dataset) | {
        "temperature": temperature,
        "fitted_on": {"facts": len(true), "true": int(true.sum())},
        "questions": int(sum(len(part.anchors) for part in asked)),
    }
    return Calibration(calibrator, thresholds, quality, made_from)


def _quality(calibrator: Calibrator, test: Candidates, dataset: Dataset) -> dict[str, Any]:
    """What test says of facts proposed with train and valid known."""
    true = test.true_in(dataset.answers("test"))
    log_odds = calibrator.log_odds(test)
    probability = calibrator.probability(log_odds)
    first = distinct(test, log_odds)
    by_score = distinct(test, test.score)
    held_out = len(np.unique(dataset.test, axis=0))
    return {
        "split": "test",
        "facts": len(first),
        "held_out": held_out,
        "reliability": reliability(probability, true),
        "errors": calibration_errors(probability, true),
        "precision_at": precision_at(log_odds[first], true[first], held_out, _CUTOFFS),
        "by_score": precision_at(test.score[by_score], true[by_score], held_out, _CUTOFFS),
    }


def distinct(candidates: Candidates, order: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows of the facts, best first, each once: both of its questions may have proposed it."""
    best = np.lexsort((candidates.tail, candidates.relation, candidates.head, -order))
    facts = np.stack([candidates.head, candidates.relation, candidates.tail], axis=1)[best]
    _, first = np.unique(facts, axis=0, return_index=True)
    return best[np.sort(first)]


@torch.inference_mode()
def _temperature(trained: TrainedModel, dataset: Dataset) -> float:
    """Of the share: the one that makes valid's answers likeliest among the unknown ones of their questions."""
    known = dataset.answers("train")
    loss = np.zeros(len(_TEMPERATURES))
    size = block_size(trained, dataset)
    triples = np.unique(dataset.valid, axis=0)[: _MOST_QUESTIONS // 2]
    for direction in (HEAD, TAIL):
        for start in range(0, len(triples), size):
            queries = Queries.of(torch.from_numpy(triples[start : start + size]), direction)
            scores = trained.model.score_all(queries.anchor, queries.relation, direction).float().clone()
            true = scores.gather(1, queries.answer[:, None])
            position, entity = known.pairs(known.rows(queries))
            scores[position, entity] = -torch.inf
            scores.scatter_(1, queries.answer[:, None], true)  # valid repeats some of train's facts in some datasets
            for number, temperature in enumerate(_TEMPERATURES):
                shares = true[:, 0] / temperature - torch.logsumexp(scores / temperature, dim=1)
                loss[number] -= float(shares.double().sum())
    return float(_TEMPERATURES[int(np.argmin(loss))])


def _sample(asked: list[Question]) -> list[Question]:
    """At most _MOST_QUESTIONS of the questions, every one equally likely, always the same."""
    total = sum(len(part.anchors) for part in asked)
    if total <= _MOST_QUESTIONS:
        return asked
    keep = np.zeros(total, dtype=bool)
    keep[np.random.default_rng(0).choice(total, _MOST_QUESTIONS, replace=False)] = True
    kept, start = [], 0
    for part in asked:
        inside = keep[start : start + len(part.anchors)]
        start += len(part.anchors)
        if inside.any():
            kept.append(Question(part.direction, part.relation, part.anchors[inside]))
    return kept


def fingerprint(trained: TrainedModel, dataset: Dataset) -> dict[str, Any]:
    """What probabilities and predictions depend on."""
    triples = hashlib.sha256()
    for split in (*SPLITS, UNUSED):
        triples.update(np.ascontiguousarray(dataset.split(split)).tobytes())
    return {
        "weights_sha256": file_sha256(trained.run.model_file),
        "entities_sha256": trained.entities.sha256,
        "triples_sha256": triples.hexdigest(),
    }
