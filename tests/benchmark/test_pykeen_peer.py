"""PyKEEN's side has our embeddings and our scores."""

import pytest
import torch

from mmrns.benchmark.alternation import alternate
from mmrns.benchmark.evaluation import OurRanking
from mmrns.benchmark.pykeen_peer import PyKEENRanking, PyKEENStep, pykeen_model
from mmrns.benchmark.suites import equal_ranks
from mmrns.config import Config
from tests.tiny import write_tiny_graph

pytest.importorskip("pykeen", reason="PyKEEN is not installed (pip install pykeen)")
every_model = pytest.mark.parametrize("model", ["rotate", "pairre", "transe", "complex", "distmult"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_graph(tmp_path_factory.mktemp("graph"))


def config_of(folder, model):
    return Config(
        dataset=str(folder), model=model, sampler="uniform", dim=6, device="cpu", batch_size=16, num_negatives=3
    )


@every_model
def test_scores_and_ranks_are_ours(folder, model):
    config = config_of(folder, model)
    ours = OurRanking(config, 9)
    dataset, built, triples = ours.load()
    theirs, _ = pykeen_model(built, config, dataset)
    head, relation, tail = torch.from_numpy(triples).unbind(1)
    with torch.no_grad():
        mine = built.scoring.score(built.entities(head), built.relations(relation), built.entities(tail))
        other = theirs.score_hrt(torch.from_numpy(triples))[:, 0]
    margin = 0.0 if model in ("complex", "distmult") else config.gamma
    torch.testing.assert_close(other, mine - margin, rtol=1e-4, atol=1e-4)
    assert "ranks equal for 100.0%" in equal_ranks(ours, PyKEENRanking(config, 9))


def test_different_ranks_are_an_error(folder):
    with pytest.raises(RuntimeError, match="ranks differ"):
        equal_ranks(OurRanking(config_of(folder, "rotate"), 9), PyKEENRanking(config_of(folder, "transe"), 9))


def test_a_step_trains_pykeens_model(folder):
    times = alternate({"pykeen": PyKEENStep(config_of(folder, "transe"))}, repetitions=2)["pykeen"]
    assert len(times.wall) == 2 and min(times.wall) > 0
