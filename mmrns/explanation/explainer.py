"""Explaining one triple with a trained run: its negatives, what the attention looked at, and its rank."""

from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mmrns.errors import UserError
from mmrns.explanation.attention import attention
from mmrns.explanation.entities import Entities
from mmrns.explanation.regions import Regions, regions
from mmrns.explanation.result import Answer, Attention, Explanation, Negative, Sampling, Side, Split
from mmrns.explanation.sampling import distribution, rebuild_sampler
from mmrns.features import FeatureStore
from mmrns.graph import Dataset
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.graph.dataset import SPLITS
from mmrns.graph.held_out import dataset_of
from mmrns.inference import TrainedModel, load
from mmrns.negatives.mmrns import MMRNS
from mmrns.training.loop import open_features

Asks = Literal["tail", "head"]
BOTH: tuple[Asks, ...] = ("tail", "head")


class Explainer:
    """A run, its graph and its features, read once; then an explanation takes a fraction of a second.

    Attributes:
        trained: the run's selected checkpoint.
        dataset, features: what it was trained on; features are None where there are none.
        entities: entities by row as people see them.
        notes: what of the run cannot be explained, and why.
    """

    def __init__(self, run: str | Path | TrainedModel, dataset: Dataset | None = None) -> None:
        """Read the run, its graph (or take `dataset`) and its features.

        Raises:
            UserError: not a run folder, a damaged file, or a graph or features that are missing or not the run's.
        """
        self.trained = run if isinstance(run, TrainedModel) else load(run)
        self.dataset = dataset or dataset_of(self.trained.config)
        self.trained.check_fits(self.dataset)
        self.features: FeatureStore | None = open_features(self.dataset, self.trained.config, torch.device("cpu"))
        self._check_features()
        self.entities = Entities(self.dataset, self.features)
        self.notes: list[str] = []
        if self.sampler is None:
            self.notes.append(
                f"no sampler to explain: {self.trained.config.sampler} does not choose negatives by likeness alone; "
                "ranks are still shown"
            )
        elif self.sampler.attention is None:
            self.notes.append("no attention to explain: this run's sampler judges likeness by structure alone")

    def _check_features(self) -> None:
        """Raise UserError when the features are not those that the run was begun with."""
        config, run = self.trained.config, self.trained.run
        compares = config.samples and config.sampler != "uniform"
        # Without features then, or without them now, all but a sampler that compares them is as it was.
        if compares or (self.features and run.features_sha256()):
            now = (self.features.sha256, self.features.path.parent) if self.features else ("", self.dataset.folder)
            run.check_features(*now)

    @cached_property
    def sampler(self) -> MMRNS | None:
        """The run's sampler with its trained weights, or None where it does not choose by likeness alone."""
        config = self.trained.config
        if not config.samples or "score" in config.modalities.split(","):
            return None
        sampler = rebuild_sampler(config, self.dataset, self.features, self.trained.model)
        if not isinstance(sampler, MMRNS):
            return None
        self.trained.run.load_weights({"sampler": sampler})
        return sampler

    @cached_property
    def regions(self) -> Regions | None:
        """Where image tokens lie in a picture; None where the features do not say."""
        return regions(self.features.manifest) if self.features else None

    def explain(
        self, head: str, relation: str, tail: str, *, sides: tuple[Asks, ...] = BOTH, top: int = 10
    ) -> Explanation:
        """Explain (head, relation, tail), which need not be known.

        Args:
            head, relation, tail: ids or labels.
            sides: "tail" asks (head, relation, ?), "head" asks (?, relation, tail).
            top: negatives, and places of the ranking, to show.

        Raises:
            UserError: an unknown or ambiguous name, or `top` below 1.
        """
        if top < 1:
            raise UserError(f"-k {top}: ask for at least 1")
        names = self.trained.entities, self.trained.relations
        rows = names[0].find(head, "--head"), names[1].find(relation, "--relation"), names[0].find(tail, "--tail")
        triple = torch.tensor([rows])
        known = self.known(Queries.of(triple, TAIL))
        explained = [self._side(triple, asks, top) for asks in sides]
        with torch.inference_mode():
            score = float(self.trained.model.score_answers(Queries.of(triple, TAIL)))
        config = self.trained.config
        return Explanation(
            run=str(self.trained.run.path),
            dataset=self.dataset.name,
            model=config.model,
            sampler=config.sampler,
            step=self.trained.step,
            head=self.entities[rows[0]],
            relation=names[1].ids[rows[1]],
            relation_label=names[1].labels[rows[1]],
            tail=self.entities[rows[2]],
            split=known.get(rows[2]),
            score=score,
            sides=explained,
            notes=list(self.notes),
        )

    def known(self, queries: Queries) -> dict[int, Split]:
        """Known answers of one query by row, with the split that lists them (train before valid before test)."""
        return self.dataset.listed(queries)

    def attention(self, entity: int, relation: int) -> list[Attention]:
        """KCA of an entity's row under a relation's row; empty where there is none."""
        return attention(self.sampler, self.trained.model, entity, relation) if self.sampler else []

    def _side(self, triple: Tensor, asks: Asks, top: int) -> Side:
        queries = Queries.of(triple, TAIL if asks == "tail" else HEAD)
        answer, relation = int(queries.answer), int(queries.relation)
        known = self.known(queries)
        with torch.inference_mode():
            scores = self.trained.model.score_all(queries.anchor, queries.relation, queries.direction)[0].float()
        if torch.isnan(scores).any():
            raise UserError(f"{self.trained.run.path}: scores are NaN: the training diverged; train anew")
        others = torch.tensor([row for row in known if row != answer], dtype=torch.long)
        higher, equal = scores > scores[answer], scores == scores[answer]
        new_above, ties = (int(part.sum() - part[others].sum()) for part in (higher, equal))
        splits: list[str] = [known[row] for row in others.tolist() if bool(higher[row])]
        optimistic, pessimistic = new_above + 1, new_above + ties
        return Side(
            asks=asks,
            answer=self.entities[answer],
            rank=(optimistic + pessimistic) / 2,
            optimistic=optimistic,
            pessimistic=pessimistic,
            candidates=len(scores) - len(others),
            above={"new": new_above} | {split: splits.count(split) for split in SPLITS},
            ranking=self._ranking(scores, answer, known, top),
            sampling=self._sampling(queries, scores, known, top),
            attention=self.attention(answer, relation),
        )

    def _ranking(self, scores: Tensor, answer: int, known: dict[int, Split], top: int) -> list[Answer]:
        order = torch.argsort(scores, descending=True, stable=True)
        shown = order[:top].tolist()
        places = list(range(1, len(shown) + 1))
        if answer not in shown:
            shown.append(answer)
            places.append(int((order == answer).nonzero()) + 1)
        return [
            Answer(place, self.entities[row], float(scores[row]), known.get(row), row == answer)
            for place, row in zip(places, shown, strict=True)
        ]

    def _sampling(self, queries: Queries, scores: Tensor, known: dict[int, Split], top: int) -> Sampling | None:
        if self.sampler is None:
            return None
        spread = distribution(self.sampler, self.trained.model, queries, self.trained.step)
        p, uniform, drawn = spread.likely[0], spread.uniform[0], spread.drawn[0]
        candidates = int((uniform > 0).sum())
        answer = int(queries.answer)
        held_out = [row for row, split in known.items() if split != "train" and row != answer]
        negatives = []
        for row in p.topk(min(top, candidates)).indices.tolist():
            cosines = {name: float(values[0, row]) for name, values in spread.similarity.items()}
            split = known.get(row)
            negatives.append(
                Negative(
                    entity=self.entities[row],
                    probability=float(p[row]),
                    times_uniform=float(p[row]) * candidates,
                    similarity={name: None if value != value else value for name, value in cosines.items()},
                    score=float(scores[row]),
                    known=split,
                )
            )
        return Sampling(
            sampler=self.trained.config.sampler,
            candidates=candidates,
            epsilon=spread.epsilon,
            entropy=float(spread.entropy),
            expected_score=float(drawn @ scores),
            uniform_score=float(uniform @ scores),
            held_out_mass=float(drawn[held_out].sum()),
            negatives=negatives,
        )


def explain(
    run: str | Path | TrainedModel | Explainer,
    head: str,
    relation: str,
    tail: str,
    *,
    sides: tuple[Asks, ...] = BOTH,
    top: int = 10,
) -> Explanation:
    """Explain one triple; see Explainer.explain. Give an Explainer to explain several with files read once."""
    explainer = run if isinstance(run, Explainer) else Explainer(run)
    return explainer.explain(head, relation, tail, sides=sides, top=top)
