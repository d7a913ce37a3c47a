"""New facts that a model proposes: for each question, its best answers that are not known already."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmrns.errors import UserError
from mmrns.graph.answers import HEAD, TAIL, AnswerIndex, Queries
from mmrns.scoring import Ranker


@dataclass(frozen=True)
class Candidates:
    """N proposed facts, as columns.

    Attributes:
        head, relation, tail: (N,) int64 rows.
        direction: (N,) the question that proposed it: TAIL asked (head, relation, ?), HEAD (?, relation, tail).
        score: (N,) float64, the model's.
        share: (N,) float64, log softmax(score / temperature) of the answer over all unknown entities of its question.
        known: (N,) answers of the question that were known, and so left out.
        other_known: (N,) known answers of the fact's other question. A country with a currency needs no second one.
    """

    head: NDArray[np.int64]
    relation: NDArray[np.int64]
    tail: NDArray[np.int64]
    direction: NDArray[np.int64]
    score: NDArray[np.float64]
    share: NDArray[np.float64]
    known: NDArray[np.int64]
    other_known: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.head)

    @classmethod
    def joined(cls, parts: list["Candidates"]) -> "Candidates":
        """All parts, of which there must be one, below one another."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def true_in(self, answers: AnswerIndex) -> NDArray[np.bool_]:
        """(N,) which of the facts `answers` lists."""
        found = np.zeros(len(self), dtype=bool)
        for direction in (HEAD, TAIL):
            rows = np.flatnonzero(self.direction == direction)
            triples = torch.from_numpy(np.stack([self.head, self.relation, self.tail], axis=1)[rows])
            queries = Queries.of(triples, direction)
            found[rows] = answers.contains(answers.rows(queries), queries.answer[:, None])[:, 0].numpy()
        return found

    def each_fact_once(self, order: NDArray[np.float64]) -> NDArray[np.int64]:
        """Rows of distinct facts in falling `order` (N,), of a fact that both of its questions propose the higher."""
        columns = {name: getattr(self, name) for name in ("head", "relation", "tail", "direction")}
        facts = pd.DataFrame(columns | {"order": order, "row": np.arange(len(self))})
        return best_facts(facts)["row"].to_numpy()


@dataclass(frozen=True)
class Question:
    """Questions of one relation and direction: (anchor, relation, ?) or (?, relation, anchor), anchors (B,) int64."""

    direction: int
    relation: int
    anchors: NDArray[np.int64]


@torch.inference_mode()
def propose(
    model: Ranker,
    questions: Question,
    known: list[AnswerIndex],
    k: int,
    temperature: float,
    loops: bool,
) -> list[Candidates]:
    """The k best unknown answers of each question, once for each index of known answers.

    Questions are scored once, whatever the number of indexes. An answer that is its own anchor is left out unless
    `loops`. A question with fewer than k unknown answers gives fewer.

    Raises:
        UserError: a score is NaN, which means that training diverged.
    """
    device = known[0].device
    anchors = torch.from_numpy(questions.anchors).to(device)
    relation = torch.full_like(anchors, questions.relation)
    queries = Queries(anchors, relation, anchors, questions.direction)
    scores = model.score_all(anchors, relation, questions.direction).float()
    if torch.isnan(scores.sum()) and torch.isnan(scores).any():
        raise UserError("scores are NaN: the training diverged; train again with a lower --learning-rate")
    return [_best(scores.clone(), queries, index, k, temperature, loops) for index in known]


def _best(scores: Tensor, queries: Queries, known: AnswerIndex, k: int, temperature: float, loops: bool) -> Candidates:
    rows = known.rows(queries)
    position, entity = known.pairs(rows)
    scores[position, entity] = -torch.inf
    if not loops:
        scores[torch.arange(len(scores), device=scores.device), queries.anchor] = -torch.inf
    best, answer = scores.topk(min(k, scores.shape[1]), dim=1)
    share = best / temperature - torch.logsumexp(scores / temperature, dim=1, keepdim=True)
    there = best > -torch.inf
    anchor = queries.anchor[:, None].expand_as(answer)
    count = known.count(rows)[:, None].expand_as(answer)
    head, tail = (anchor, answer) if queries.direction == TAIL else (answer, anchor)
    relations = queries.relation[:, None].expand_as(answer)[there]
    other = Queries(answer[there], relations, anchor[there], HEAD if queries.direction == TAIL else TAIL)
    found = (column[there].cpu().numpy() for column in (head, tail, best.double(), share.double(), count))
    heads, tails, scores_found, shares, counts = found
    return Candidates(
        head=heads,
        relation=relations.cpu().numpy(),
        tail=tails,
        direction=np.full(len(heads), queries.direction, dtype=np.int64),
        score=scores_found,
        share=shares,
        known=counts,
        other_known=known.count(known.rows(other)).cpu().numpy(),
    )


def in_blocks(questions: Iterable[Question], size: int) -> Iterator[Question]:
    """The same questions in blocks of at most `size` anchors."""
    for part in questions:
        for start in range(0, len(part.anchors), size):
            yield Question(part.direction, part.relation, part.anchors[start : start + size])


def best_facts(facts: pd.DataFrame, top: int | None = None) -> pd.DataFrame:
    """The `top` facts (all without it) in falling "order", each once: both of its questions may have proposed it.

    Args:
        facts: columns "order", "head", "relation", "tail", "direction" and others. Equal orders are told apart by
            the four others, so the answer does not depend on the order of the rows.
    """
    keys = ["order", "head", "relation", "tail", "direction"]
    ranked = facts.sort_values(keys, ascending=[False, True, True, True, True], ignore_index=True)
    return ranked.drop_duplicates(["head", "relation", "tail"]).head(len(ranked) if top is None else top)
