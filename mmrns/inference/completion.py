"""Completing a graph: the most plausible new facts over all questions worth asking, with calibrated probabilities."""

import hashlib
import json
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd

from mmrns.errors import UserError
from mmrns.evaluation.calibration import Method
from mmrns.evaluation.candidates import Question, in_blocks, propose
from mmrns.graph import Dataset
from mmrns.inference.answerer import Answerer
from mmrns.inference.calibration import PRECISIONS, calibration, fingerprint
from mmrns.inference.questions import Ask, Questions, block_size, loops_allowed


class Completion:
    """All new facts of a graph that a run proposes, block of questions by block."""

    def __init__(
        self,
        trained: Answerer,
        dataset: Dataset,
        *,
        k: int = 10,
        ask: Ask = "type",
        method: Method | Literal["none"] = "isotonic",
        precision: float | None = None,
        relation: str | None = None,
        progress: bool = False,
    ) -> None:
        """Calibrate, and lay out the questions.

        Args:
            k: answers a question at most.
            ask: which questions (see `Questions`).
            method: how scores become probabilities.
            precision: keep only facts from the threshold on at which their relation reaches it; one of PRECISIONS.
            relation: ask of this relation only (id or label).
            progress: show bars on standard error, when that is a terminal.

        Raises:
            UserError: a value out of range, a graph that is not the run's, or too few held-out facts.
        """
        if k < 1:
            raise UserError(f"-k {k}: ask for at least 1 answer a question")
        if precision is not None and method == "none":
            raise UserError(f"--precision {precision}: needs probabilities; leave --calibration none out")
        if precision is not None and precision not in PRECISIONS:
            raise UserError(f"--precision {precision}: give one of {', '.join(map(str, PRECISIONS))}")
        trained.check_fits(dataset)
        only = None if relation is None else trained.relations.find(relation, "--relation")
        self.trained, self.dataset, self.k, self.progress = trained, dataset, k, progress
        self.questions = Questions(dataset, ask, only)
        if not self.questions.number:
            raise UserError(f"--relation {relation}: train has no fact of it, so there is nothing to ask")
        self.calibration = None if method == "none" else calibration(trained, dataset, ask, method, progress)
        self._loops = loops_allowed(dataset)
        self._known = dataset.answers().to(trained.device)
        self._block_size = block_size(trained, k)
        self._least = np.zeros(len(dataset.relations))
        if self.calibration is not None and precision is not None:
            of_relation = self.calibration.thresholds[str(precision)]
            self._least = np.array([np.inf if (t := of_relation[r]) is None else t for r in dataset.relations.ids])
        decides = {"k": k, "method": method, "precision": precision, "block_size": self._block_size}
        made_from = fingerprint(trained, dataset, self.questions) | decides
        self.sha256 = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
        """Fingerprint of everything that decides the facts and their blocks."""

    def blocks(self) -> Iterator[Question]:
        """The questions, as many at once as memory allows; always the same."""
        return in_blocks(self.questions, self._block_size)

    def facts(self, block: Question) -> pd.DataFrame:
        """The new facts of a block, question by question, best first within each.

        Returns:
            A row a fact: "head", "relation", "tail" (rows of the vocabularies), "direction" asked, "score",
            "probability" (NaN without calibration), and "order": what facts of different questions are ordered by,
            the log-odds, or without calibration the log-share of the question.
        """
        calibrator = self.calibration.calibrator if self.calibration else None
        temperature = calibrator.temperature if calibrator else 1.0
        loops = bool(self._loops[block.relation])
        (found,) = propose(self.trained.model, block, [self._known], self.k, temperature, loops)
        order = calibrator.log_odds(found) if calibrator else found.share
        columns = {name: getattr(found, name) for name in ("head", "relation", "tail", "direction", "score")}
        probability = calibrator.probability(order) if calibrator else np.full(len(found), np.nan)
        facts = pd.DataFrame(columns | {"probability": probability, "order": order})
        return facts[probability >= self._least[found.relation]] if calibrator else facts
