"""What `mmrns benchmark step` and `mmrns benchmark evaluation` compare, at a small size and at the published one."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mmrns.benchmark import pykeen_peer
from mmrns.benchmark.alternation import Side
from mmrns.benchmark.comparison import Comparison
from mmrns.benchmark.evaluation import CheckedRanking, NaiveRanking, OurRanking, RankingSide
from mmrns.benchmark.naive import NaiveStep
from mmrns.benchmark.pykeen_peer import PyKEENRanking, PyKEENStep
from mmrns.benchmark.step import OurStep
from mmrns.config import Config
from mmrns.config_file import read_preset
from mmrns.options import Device

# BEiT's patch tokens and SBERT's sentences as the authors published them.
_FEATURES = {"image": (24, 383), "text": (4, 384)}
_WIDTH, _NEGATIVES = 200, 20
# Examples of one relation that come together, where batches are grouped.
_GROUP = 64
GROUPED = "mmrns, grouped"


@dataclass(frozen=True)
class Size:
    """How large the comparisons are.

    Attributes:
        dataset: name or folder.
        batch_size, negatives: of uniform sampling.
        pool_size: candidates of MMRNS.
        score_pools: candidates of draws by score alone.
        naive_batches: batches at which MMRNS meets its naive transcription.
        models: scoring functions that meet PyKEEN.
        triples: of test that are ranked, twice each.
    """

    dataset: str
    batch_size: int
    negatives: int
    pool_size: int
    score_pools: tuple[int, ...]
    naive_batches: tuple[int, ...]
    models: tuple[str, ...]
    triples: int


SIZES = {
    "small": Size("pictokg", 256, 64, 300, (300,), (128,), ("rotate", "complex"), 100),
    "published": Size("MKG-W", 512, 128, 1500, (500, 1500), (64, 400), ("rotate", "pairre", "transe", "complex"), 100),
}


def step_comparisons(size: Size, dataset: str, device: Device = "cpu", seed: int = 0) -> list[Comparison]:
    """MMRNS against its naive transcription and against uniform sampling; uniform sampling against PyKEEN."""
    configured = partial(_config, dataset, device, seed)
    result = []
    for batch in size.naive_batches:
        config = configured("rotate", "mmrns", batch, _NEGATIVES, pool_size=size.pool_size)
        naive = NaiveStep(config, _FEATURES)
        in_pieces = batch > naive.rows_at_once
        # What naive does depends on no batch's relations, so it serves both of ours.
        sides: dict[str, Side] = {"mmrns": OurStep(config, _FEATURES), GROUPED: _grouped(config), "naive": naive}
        title = f"MMRNS step, RotatE, batch {batch}, n {_NEGATIVES}, pool {size.pool_size}"
        result.append(
            Comparison(
                title,
                "triples",
                sides,
                ("mmrns", GROUPED) if in_pieces else tuple(sides),
                (f"naive works off {naive.rows_at_once} triples at a time and adds their gradients",) * in_pieces,
                also={f"{title}, {_GROUP} triples of a relation together": (GROUPED, "naive")},
            )
        )
    mmrns = configured("rotate", "mmrns", size.batch_size, _NEGATIVES, pool_size=size.pool_size)
    uniform = configured("rotate", "uniform", size.batch_size, size.negatives)
    as_few = configured("rotate", "uniform", size.batch_size, _NEGATIVES)
    title = (
        f"MMRNS step (n {_NEGATIVES}, pool {size.pool_size}) beside uniform sampling (n {size.negatives}), "
        f"RotatE, batch {size.batch_size}"
    )
    rivals: dict[str, Side] = {"uniform": OurStep(uniform), f"uniform, n {_NEGATIVES}": OurStep(as_few)}
    result.append(
        Comparison(
            title,
            "triples",
            {"mmrns": OurStep(mmrns, _FEATURES), GROUPED: _grouped(mmrns), **rivals},
            ("mmrns", GROUPED, "uniform"),
            also={f"{title}, {_GROUP} triples of a relation together": (GROUPED, *rivals)},
        )
    )
    score = read_preset("score").values
    few = configured("rotate", "uniform", size.batch_size, score["num_negatives"])
    by_score = {
        f"by score, pool {pool}": OurStep(Config(**{**few.model_dump(), **score, "pool_size": pool}))
        for pool in size.score_pools
    }
    n = few.num_negatives
    result.append(
        Comparison(
            f"Draws by score (n {n}) beside uniform sampling (n {size.negatives}), RotatE, batch {size.batch_size}",
            "triples",
            {**by_score, "uniform": OurStep(uniform), f"uniform, n {n}": OurStep(few)},
            tuple(by_score),
        )
    )
    for model in size.models if pykeen_peer.available() else ():
        config = configured(model, "uniform", size.batch_size, size.negatives)
        result.append(
            Comparison(
                f"Uniform step, {model}, batch {size.batch_size}, n {size.negatives}",
                "triples",
                {"uniform": OurStep(config), "pykeen": PyKEENStep(config)},
                ("uniform", "pykeen") if model == "rotate" else (),
            )
        )
    return result


def evaluation_comparisons(size: Size, dataset: str, device: Device = "cpu", seed: int = 0) -> list[Comparison]:
    """Our ranking against PyKEEN's evaluator, whose ranks must be equal, and against a query at a time."""
    result = []
    for model in size.models:
        config = evaluation_config(size, dataset, model, device, seed)
        ours = OurRanking(config, size.triples)
        sides: dict[str, RankingSide] = {"ours": ours}
        check = None
        if pykeen_peer.available():
            theirs = PyKEENRanking(config, size.triples)
            sides["pykeen"] = theirs
            check = partial(equal_ranks, ours, theirs)
        sides["naive"] = NaiveRanking(config, size.triples)
        title = f"Filtered ranking, {model}, {size.triples} triples of test, both directions"
        memory = tuple(sides) if model == "rotate" else ()
        result.append(Comparison(title, "queries", sides, memory, check=check))
    return result


def evaluation_config(size: Size, dataset: str, model: str, device: Device = "cpu", seed: int = 0) -> Config:
    """The model whose ranking is timed."""
    return _config(dataset, device, seed, model, "uniform", size.batch_size, size.negatives)


def equal_ranks(ours: CheckedRanking, theirs: CheckedRanking) -> str:
    """What to say of two sides that give the same ranks, up to near ties that rounding may turn.

    Raises:
        RuntimeError: they do not.
    """
    mine, other = ours.ranks(), theirs.ranks()
    difference = np.abs(mine - other)
    mrr = float((1 / mine).mean()), float((1 / other).mean())
    if (difference > 1).mean() > 0.01 or abs(mrr[0] - mrr[1]) > 1e-4:
        raise RuntimeError(f"ranks differ: MRR {mrr[0]:.6f} and {mrr[1]:.6f}; the sides do not do the same work")
    return (
        f"ranks equal for {(difference == 0).mean():.1%} of queries, greatest difference {difference.max():g}, "
        f"MRR {mrr[0]:.6f} and {mrr[1]:.6f}"
    )


def _grouped(config: Config) -> OurStep:
    return OurStep(config.model_copy(update={"relation_group": _GROUP}), _FEATURES)


def _config(
    dataset: str,
    device: Device,
    seed: int,
    model: str,
    sampler: str,
    batch_size: int,
    negatives: int,
    pool_size: int = 0,
    **options: Any,
) -> Config:
    return Config(
        dataset=dataset,
        model=model,
        sampler=sampler,
        dim=_WIDTH,
        gamma=6.0,
        batch_size=batch_size,
        num_negatives=negatives,
        pool_size=pool_size,
        device=device,
        seed=seed,
        steps=100_000,
        validation="published",
        **options,
    )
