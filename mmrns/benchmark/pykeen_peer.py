"""PyKEEN at the same work: its sLCWA training step and its RankBasedEvaluator, with our embeddings.

PyKEEN (Ali et al., JMLR 2021) is an optional dependency of the benchmark. What is timed is its own code: batches and
negatives come from its data loader, a step is `_forward_pass` and the optimiser's callback of its training loop.
"""

import importlib.util
import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmrns.benchmark.alternation import Phases, Side
from mmrns.benchmark.evaluation import CheckedRanking
from mmrns.config import Config
from mmrns.graph import Dataset
from mmrns.graph.dataset import load_dataset
from mmrns.processes import device_of
from mmrns.scoring import KnowledgeGraphModel, ScoringFunction
from mmrns.scoring.model import model_of
from mmrns.scoring.pairre import PairRE
from mmrns.scoring.rotate import RotatE

MISSING = "PyKEEN is not installed, so there is no comparison with it; to have one: pip install pykeen"


def available() -> bool:
    """Whether PyKEEN is installed."""
    return importlib.util.find_spec("pykeen") is not None


@dataclass(frozen=True)
class PyKEENStep(Side):
    """A step of its sLCWA loop: Adam, self-adversarial loss, its basic negative sampler (unfiltered, as by default)."""

    config: Config

    @property
    def work(self) -> int:
        """Triples a step."""
        return self.config.batch_size

    def prepare(self) -> Callable[[], Phases]:
        """Build PyKEEN's model and loop."""
        from pykeen.losses import NSSALoss
        from pykeen.training import SLCWATrainingLoop
        from pykeen.training.callbacks import OptimizerTrainingCallback

        config = self.config
        dataset = load_dataset(config.dataset)
        torch.manual_seed(config.seed)
        ours = model_of(config, len(dataset.entities), len(dataset.relations))
        loss = NSSALoss(margin=config.gamma, adversarial_temperature=config.adversarial_temperature)
        model, factory = pykeen_model(ours, config, dataset, loss)
        optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
        loop = SLCWATrainingLoop(
            model=model,
            triples_factory=factory,
            optimizer=optimizer,
            negative_sampler_kwargs={"num_negs_per_pos": config.num_negatives},
        )
        callback = OptimizerTrainingCallback()
        callback.register_training_loop(loop)
        loader = loop._create_training_data_loader(
            factory, batch_size=config.batch_size, drop_last=True, sampler=None, shuffle=True
        )
        batches = _endless(loader)
        model.train()

        def step() -> Phases:
            batch = next(batches)
            callback.pre_batch()
            loop._forward_pass(batch, 0, config.batch_size, config.batch_size, 0.0, None)
            callback.post_batch(epoch=1, batch=batch)
            return {}

        return step


class PyKEENRanking(CheckedRanking):
    """Its RankBasedEvaluator, filtered by train, valid and test, with the weights of our model."""

    def prepare(self) -> Callable[[], Phases]:
        """Build PyKEEN's model with our weights."""
        evaluate, _ = self._evaluation()

        def rank() -> Phases:
            evaluate()
            return {}

        return rank

    def ranks(self) -> NDArray[np.float64]:
        """Its "realistic" ranks, the mean of optimistic and pessimistic, head queries first."""
        evaluate, evaluator = self._evaluation()
        evaluator.clear_on_finalize = False
        evaluate()
        sides = [np.concatenate(evaluator.ranks[side, "realistic"]) for side in ("head", "tail")]
        return np.concatenate(sides).astype(np.float64)

    def _evaluation(self) -> tuple[Callable[[], Any], Any]:
        from pykeen.evaluation import RankBasedEvaluator

        dataset, ours, triples = self.load()
        model, _ = pykeen_model(ours, self.config, dataset)
        model.eval()
        evaluator = RankBasedEvaluator(filtered=True)
        splits = [torch.from_numpy(dataset.split(name)) for name in ("train", "valid", "test")]
        batch = _BATCH if self.device.type == "cpu" else None  # on a GPU it looks for the largest that fits

        def evaluate() -> Any:
            return evaluator.evaluate(
                model, torch.from_numpy(triples), batch_size=batch, additional_filter_triples=splits, use_tqdm=False
            )

        return evaluate, evaluator


# Triples at once in PyKEEN's evaluator: its own choice on a CPU.
_BATCH = 32


def pykeen_model(ours: KnowledgeGraphModel, config: Config, dataset: Dataset, loss: Any = None) -> tuple[Any, Any]:
    """PyKEEN's model of the same name with our embeddings, and its triples factory of train.

    Its RotatE takes a 2-norm over dimensions whatever is asked for; here it takes the sum of the paper, as ours does.
    Its regularisers are switched off.
    """
    from pykeen.models import model_resolver
    from pykeen.triples import CoreTriplesFactory

    for name in ("pykeen", "torch_max_mem"):
        logging.getLogger(name).setLevel(logging.ERROR)
    triples = torch.from_numpy(dataset.train)
    factory = CoreTriplesFactory.create(triples, len(dataset.entities), len(dataset.relations))
    model_class: Any = model_resolver.lookup(config.model)
    model = model_class(embedding_dim=config.dim, triples_factory=factory, loss=loss)
    if isinstance(ours.scoring, RotatE):
        model.interaction = _rotate_by_sum()
    with torch.no_grad():
        tables = [_as_complex(ours.scoring, ours.entities.everything())], _relation_tables(ours)
        representations = model.entity_representations, model.relation_representations
        for into, values in zip(itertools.chain(*representations), itertools.chain(*tables), strict=True):
            into.regularizer = None
            weight = into._embeddings.weight
            weight.copy_((torch.view_as_real(values) if values.is_complex() else values).reshape(weight.shape))
    return model.to(device_of(config.device)), factory


def _rotate_by_sum() -> Any:
    from pykeen.nn.modules import RotatEInteraction
    from pykeen.utils import negative_norm

    class SummedRotatE(RotatEInteraction):
        """PyKEEN's, but for the norm: - sum_i |h_i r_i - t_i|."""

        def forward(self, h: Tensor, r: Tensor, t: Tensor) -> Tensor:
            """Rotate the smaller of head and tail, as PyKEEN does."""
            rotated = (h * r, t) if h.numel() <= t.numel() else (h, t * torch.conj(r))
            return negative_norm(rotated[0] - rotated[1], p=1)

    return SummedRotatE()


def _relation_tables(ours: KnowledgeGraphModel) -> list[Tensor]:
    """Our relations as PyKEEN lays them out: two tables for PairRE, rotations for RotatE."""
    weight, scoring = ours.relations.weight, ours.scoring
    if isinstance(scoring, RotatE):
        phase = weight * (math.pi / scoring.initial_range)
        return [torch.polar(torch.ones_like(phase), phase)]
    if isinstance(scoring, PairRE):
        return [part.contiguous() for part in weight.chunk(2, dim=1)]
    return [_as_complex(scoring, weight)]


def _as_complex(scoring: ScoringFunction, values: Tensor) -> Tensor:
    """Vectors of real and then imaginary parts as complex numbers, others as they are."""
    return torch.complex(*values.chunk(2, dim=1)) if scoring.complex_vectors else values


def _endless(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from loader
