"""A run's probabilities: fitted on valid, measured on test, kept in the run folder."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mmrns.evaluation.calibration import (
    Calibrator,
    Method,
    calibration_errors,
    precision_at,
    reliability,
    threshold_by_relation,
)
from mmrns.evaluation.candidates import Candidates, in_blocks, propose
from mmrns.files import read_kept, write_json
from mmrns.graph import Dataset
from mmrns.graph.answers import HEAD, TAIL, AnswerIndex, Queries
from mmrns.graph.dataset import SPLITS, Split
from mmrns.inference.answerer import Answerer
from mmrns.inference.questions import Ask, Questions, block_size, loops_allowed

PRECISIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
CALIBRATION_FILE = "calibration.json"

# Answers a question that probabilities are fitted on.
_DEPTH = 20
# Questions at most, drawn at random from all of them. Of a few, both questions of a fact would seldom be there, and it
# is the better of both that is listed.
MOST_QUESTIONS = 100_000
# Held-out triples at most that the temperature is chosen by, in either direction.
_MOST_TRIPLES = 10_000
_TEMPERATURES = tuple(2.0**power for power in np.arange(-4, 4.5, 0.5))
_CUTOFFS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000]
_FORMAT = "mmrns-calibration-3"


@dataclass(frozen=True)
class Calibration:
    """A run's probabilities: how they are made, and how good they are. RUN/calibration.json holds it.

    Attributes:
        calibrator: from candidates to probabilities, fitted on valid.
        thresholds: precision -> for each relation (by id) the least probability that reaches it on valid, or None.
        quality: of facts held out of the fit (test): "reliability" and "precision_at" of calibration.py, "by_score"
            (precision where facts are ordered by their bare score), "errors", and counts.
        made_from: fingerprint of the weights, the graph and the questions, and the method.
    """

    calibrator: Calibrator
    thresholds: dict[str, dict[str, float | None]]
    quality: dict[str, Any]
    made_from: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"format": _FORMAT, **asdict(self)}


def calibration(
    trained: Answerer, dataset: Dataset, ask: Ask = "type", method: Method = "isotonic", progress: bool = False
) -> Calibration:
    """The run's calibration: read from RUN/calibration.json, or made and kept there.

    Valid alone is held out of what is known, the questions are asked, and the answers that valid lists are the true
    ones; all others count as false. So a probability is the share of such facts that turn out true when a part of the
    graph as large as valid is missing; one that both of its questions propose counts once, with the better of the two.
    Its quality is measured on test in the same way, with train and valid known.
    As in filtered ranking, facts of the other held-out split are no candidates: they would count as false.

    Raises:
        UserError: valid holds too few facts that train does not, or another graph than the run's.
    """
    trained.check_fits(dataset)
    asked = Questions(dataset, ask)
    made_from = fingerprint(trained, dataset, asked) | {"method": method}
    path = trained.run.path / CALIBRATION_FILE
    kept = _kept(path, made_from)
    if kept is not None:
        return kept
    made = _calibrate(trained, dataset, asked, method, made_from, progress)
    write_json(path, made.as_json())
    return made


def _kept(path: Path, made_from: dict[str, Any]) -> Calibration | None:
    kept = read_kept(path, _FORMAT, made_from)
    if kept is None:
        return None
    try:
        calibrator = Calibrator.from_json(kept["calibrator"])
        return Calibration(calibrator, kept["thresholds"], kept["quality"], kept["made_from"])
    except (KeyError, TypeError, ValueError):
        return None


def _calibrate(
    trained: Answerer,
    dataset: Dataset,
    asked: Questions,
    method: Method,
    made_from: dict[str, Any],
    progress: bool,
) -> Calibration:
    relations = len(dataset.relations)
    known = {"valid": _known_without(dataset, "valid"), "test": _known_without(dataset, "test")}
    temperature = _temperature(trained, _unknown(dataset.valid, known["valid"]), known["valid"])
    loops, indexes = loops_allowed(dataset), [index.to(trained.device) for index in known.values()]
    parts: dict[str, list[Candidates]] = {split: [] for split in known}
    blocks = in_blocks(asked.sample(MOST_QUESTIONS), block_size(trained, _DEPTH))
    with tqdm(
        total=min(asked.number, MOST_QUESTIONS), desc="calibrate", unit="question", disable=None if progress else True
    ) as bar:
        for block in blocks:
            found = propose(trained.model, block, indexes, _DEPTH, temperature, bool(loops[block.relation]))
            for part, of_block in zip(parts.values(), found, strict=True):
                part.append(of_block)
            bar.update(len(block.anchors))
    valid, test = (Candidates.joined(parts.pop(split)) for split in ("valid", "test"))
    true = valid.true_in(dataset.answers("valid"))
    calibrator = Calibrator.fit(valid, true, relations, temperature, method)
    thresholds = _thresholds(calibrator, valid, true, dataset.relations.ids)
    held_out = len(_unknown(dataset.test, known["test"]))
    quality = _quality(calibrator, test, test.true_in(dataset.answers("test")), held_out)
    return Calibration(calibrator, thresholds, quality, made_from)


def _known_without(dataset: Dataset, sought: Split) -> AnswerIndex:
    """What the other splits know, and the unused triples that `sought` does not list: it may be cut out of them."""
    others = [dataset.split(split) for split in SPLITS if split != sought]
    unused = _unknown(dataset.unused, dataset.answers(sought))
    triples = torch.from_numpy(np.concatenate([*others, unused]))
    return AnswerIndex(triples, len(dataset.entities), len(dataset.relations))


def _unknown(triples: NDArray[np.int64], known: AnswerIndex) -> NDArray[np.int64]:
    """The distinct (N, 3) triples that `known` does not list: splits of some datasets overlap."""
    distinct = torch.from_numpy(np.unique(triples, axis=0))
    queries = Queries.of(distinct, TAIL)
    return distinct[~known.contains(known.rows(queries), queries.answer[:, None])[:, 0]].numpy()


def _thresholds(
    calibrator: Calibrator, valid: Candidates, true: NDArray[np.bool_], relations: list[str]
) -> dict[str, dict[str, float | None]]:
    """Precision -> for each relation (by id) the least probability that reaches it, over facts that count once."""
    log_odds = calibrator.log_odds(valid)
    once = valid.each_fact_once(log_odds)
    probability, true, relation = calibrator.probability(log_odds[once]), true[once], valid.relation[once]
    found = {str(p): threshold_by_relation(probability, true, relation, len(relations), p) for p in PRECISIONS}
    return {precision: dict(zip(relations, least, strict=True)) for precision, least in found.items()}


def _quality(calibrator: Calibrator, test: Candidates, true: NDArray[np.bool_], held_out: int) -> dict[str, Any]:
    """What test says of facts proposed with train and valid known, each of them once."""
    log_odds = calibrator.log_odds(test)
    once, by_score = test.each_fact_once(log_odds), test.each_fact_once(test.score)
    probability = calibrator.probability(log_odds[once])
    return {
        "split": "test",
        "held_out": held_out,
        "reliability": reliability(probability, true[once]),
        "errors": calibration_errors(probability, true[once]),
        "precision_at": precision_at(log_odds[once], true[once], held_out, _CUTOFFS),
        "by_score": precision_at(test.score[by_score], true[by_score], held_out, _CUTOFFS),
    }


@torch.inference_mode()
def _temperature(trained: Answerer, triples: NDArray[np.int64], known: AnswerIndex) -> float:
    """Of the share: the one that makes held-out triples likeliest among the unknown answers of their questions."""
    loss, known = np.zeros(len(_TEMPERATURES)), known.to(trained.device)
    size = block_size(trained, 1)
    for direction in (HEAD, TAIL):
        for start in range(0, min(len(triples), _MOST_TRIPLES), size):
            queries = Queries.of(torch.from_numpy(triples[start : start + size]).to(trained.device), direction)
            scores = trained.model.score_all(queries.anchor, queries.relation, direction).float().clone()
            true = scores.gather(1, queries.answer[:, None])[:, 0]
            scores[known.pairs(known.rows(queries))] = -torch.inf
            for number, temperature in enumerate(_TEMPERATURES):
                shares = true / temperature - torch.logsumexp(scores / temperature, dim=1)
                loss[number] -= float(shares.double().sum())
    return float(_TEMPERATURES[int(np.argmin(loss))])


def fingerprint(trained: Answerer, dataset: Dataset, asked: Questions) -> dict[str, Any]:
    """What probabilities and predictions depend on."""
    return {
        "weights_sha256": trained.weights_sha256(),
        "entities_sha256": trained.entities.sha256,
        "triples_sha256": dataset.triples_sha256,
        "questions_sha256": asked.sha256,
    }
