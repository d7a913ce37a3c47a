"""Completing a graph: the most plausible new facts over all questions worth asking, with calibrated probabilities."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmrns.errors import UserError
from mmrns.evaluation.candidates import Candidates, Question, in_blocks, propose
from mmrns.graph import Dataset
from mmrns.inference.calibration import PRECISIONS, calibration, fingerprint
from mmrns.inference.questions import Ask, block_size, loops_allowed, questions
from mmrns.inference.trained import TrainedModel


@dataclass(frozen=True)
class Facts:
    """Proposed facts, best first.

    Attributes:
        candidates: the facts.
        probability: (N,) calibrated, or NaN without a calibration.
    """

    candidates: Candidates
    probability: NDArray[np.float64]


class Completion:
    """All new facts of a graph that a run proposes, block of questions by block, and where an interrupted one stood.

    Blocks of questions are kept as files in a folder beside the output until the end. The same call finds them again,
    so a killed completion goes on, and gives the same output.
    """

    def __init__(
        self,
        trained: TrainedModel,
        dataset: Dataset,
        *,
        k: int = 10,
        ask: Ask = "type",
        method: str = "isotonic",
        precision: float | None = None,
        relation: str | None = None,
        progress: bool = False,
    ) -> None:
        """Calibrate, and lay out the questions.

        Args:
            k: answers a question at most.
            ask: which questions (see `questions`).
            method: "isotonic", "logistic" or "none".
            precision: keep only facts from the threshold on at which their relation reaches it; one of PRECISIONS.
            relation: ask of this relation only (id or label).
            progress: show bars on standard error, when that is a terminal.

        Raises:
            UserError: a value out of range, a graph that is not the run's, or too few held-out facts.
        """
        if k < 1:
            raise UserError(f"-k {k}: ask for at least 1 answer a question")
        if precision is not None and (precision not in PRECISIONS or method == "none"):
            given = f"--precision {precision}"
            if method == "none":
                raise UserError(f"{given}: needs probabilities; leave --calibration none out")
            raise UserError(f"{given}: give one of {', '.join(map(str, PRECISIONS))}")
        trained.check_fits(dataset)
        self.trained, self.dataset, self.k, self.progress = trained, dataset, k, progress
        only = None if relation is None else trained.relations.find(relation, "--relation")
        self.calibration = None if method == "none" else calibration(trained, dataset, ask, method, progress)
        asked = [part for part in questions(dataset, ask) if only is None or part.relation == only]
        self.blocks = list(in_blocks(asked, block_size(trained, dataset)))
        self._loops = loops_allowed(dataset)
        self._least = np.zeros(len(dataset.relations))
        if self.calibration is not None and precision is not None:
            of_relation = self.calibration.thresholds[str(precision)]
            self._least = np.array([np.inf if (t := of_relation[r]) is None else t for r in dataset.relations.ids])
        self.made_from = fingerprint(trained, dataset) | {
            "k": k,
            "ask": ask,
            "method": method,
            "precision": precision,
            "relation": only,
            "blocks": len(self.blocks),
        }

    @property
    def num_questions(self) -> int:
        """Questions in all blocks."""
        return sum(len(block.anchors) for block in self.blocks)

    def facts(self, block: Question) -> Facts:
        """The new facts of one block of questions, question by question, best first within each."""
        temperature = self.calibration.calibrator.temperature if self.calibration else 1.0
        known = [self.dataset.answers()]
        (found,) = propose(self.trained.model, block, known, self.k, temperature, bool(self._loops[block.relation]))
        if self.calibration is None:
            return Facts(found, np.full(len(found), np.nan))
        calibrator = self.calibration.calibrator
        probability = calibrator.probability(calibrator.log_odds(found))
        keep = probability >= self._least[found.relation]
        return Facts(found[keep], probability[keep])

    def order(self, candidates: Candidates) -> NDArray[np.float64]:
        """What facts of different questions are ordered by: calibrated log-odds, or the share of the question."""
        return self.calibration.calibrator.log_odds(candidates) if self.calibration else candidates.share

    def fingerprint(self) -> str:
        """Of all that decides the blocks' facts."""
        return hashlib.sha256(json.dumps(self.made_from, sort_keys=True).encode()).hexdigest()

    def bar(self, done: int) -> Any:
        """A progress bar over questions."""
        return tqdm(
            total=self.num_questions, initial=done, desc="predict", unit="question",
            disable=None if self.progress else True,
        )  # fmt: skip
