"""What a GPU gives is what the CPU gives: scores, ranks, likenesses, gradients, and runs that resume."""

import json

import numpy as np
import pytest
import torch

from mmrns import load_dataset
from mmrns.config import Config
from mmrns.evaluation import rank_triples
from mmrns.features import FeatureStore
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.inference import load
from mmrns.inference.completion import Completion
from mmrns.negatives.pool import Pool
from mmrns.plugins import choices
from mmrns.scoring import ScoringFunction
from mmrns.training.loop import train
from mmrns.training.objective import build_objective
from mmrns.training.optimizer import build_optimizer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
GPU, CPU = torch.device("cuda"), torch.device("cpu")
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
MODELS = choices("mmrns.scoring", ScoringFunction)
FIXED = "tests.training.fixed_negatives:FixedNegatives"


def objectives(folder, **options):
    """The same objective on the CPU and on the GPU, and its examples."""
    dataset = load_dataset(folder)
    config = Config(**({"dataset": str(folder), "dim": 8, "num_negatives": 5, "pool_size": 20, "steps": 10} | options))
    found = []
    for device in (CPU, GPU):
        features = FeatureStore.open(dataset, folder).resident(device, 64)
        torch.manual_seed(0)
        found.append(build_objective(config, dataset, features, device))
    return found, found[0].examples(dataset)


@pytest.mark.parametrize("model", MODELS)
def test_scores_and_ranks_are_those_of_the_cpu(tiny_graph, model):
    dataset = load_dataset(tiny_graph)
    (ours, theirs), triples = objectives(tiny_graph, model=model, sampler="uniform")
    for direction in (HEAD, TAIL):
        queries = Queries.of(triples[:50], direction)
        there = Queries(*(part.to(GPU) for part in queries[:3]), direction)
        rows = torch.arange(300).view(50, 6) % len(dataset.entities)
        expected, found = ours.model.score_entities(queries, rows), theirs.model.score_entities(there, rows.to(GPU))
        torch.testing.assert_close(found.cpu(), expected, **CLOSE)
        everything = theirs.model.score_all(there.anchor, there.relation, direction)
        torch.testing.assert_close(
            everything.cpu(), ours.model.score_all(queries.anchor, queries.relation, direction), **CLOSE
        )
    known = dataset.answers()
    expected = rank_triples(ours.model, dataset.test, known, 64).rank
    found = rank_triples(theirs.model, dataset.test, known.to(GPU), 64).rank
    np.testing.assert_allclose(found, expected, atol=1)
    assert (found == expected).mean() > 0.9


@pytest.mark.parametrize(
    "options",
    [
        *({"model": model, "sampler": FIXED} for model in MODELS),
        {"model": "complex", "sampler": FIXED, "sampled_loss": "softmax", "regularization": 0.1},
        {"model": "complex", "objective": "1vsall", "reciprocal": True, "regularization": 0.1, "regularizer": "dura"},
        {"model": "rescal", "objective": "1vsall", "reciprocal": True, "regularization": 0.1, "regularizer": "dura"},
        {"model": "distmult", "objective": "kvsall", "label_smoothing": 0.1, "encoder": "fused"},
    ],
    ids=str,
)
def test_loss_and_gradients_are_those_of_the_cpu(tiny_graph, options):
    pair, examples = objectives(tiny_graph, **options)
    results = []
    for objective, device in zip(pair, (CPU, GPU), strict=True):
        batch = examples[::5].to(device)
        loss = objective(batch, 1, torch.Generator(device).manual_seed(0), True).loss
        loss.backward()
        gradients = {name: p.grad.cpu() for name, p in objective.named_parameters() if p.grad is not None}
        results.append((loss.detach().cpu(), gradients))
    torch.testing.assert_close(results[1], results[0], **CLOSE)
    assert any(value.abs().max() > 0 for value in results[0][1].values())


@pytest.mark.parametrize("similarity", ["cosine", "centred", "standardised"])
def test_likeness_and_its_gradients_are_those_of_the_cpu(tiny_graph, similarity):
    pair, examples = objectives(
        tiny_graph, sampler="mmrns", similarity=similarity, attention_width=6, structure_hidden=6
    )
    results = []
    for objective, device in zip(pair, (CPU, GPU), strict=True):
        queries = Queries.of(examples[:30].to(device), TAIL)
        pool = Pool.of(torch.arange(0, 60, 3, device=device), queries.answer[:, None])
        vectors = objective.model.entities(pool.rows)
        found = objective.sampler.similarities(queries, objective.model, pool, vectors).to_candidates
        sum(value.square().sum() for value in found.values()).backward()
        gradients = {name: p.grad.cpu() for name, p in objective.named_parameters() if p.grad is not None}
        results.append(({name: value.detach().cpu() for name, value in found.items()}, gradients))
    assert set(results[0][0]) == {"image", "text", "structure"}
    torch.testing.assert_close(results[1], results[0], **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("modalities", ["image,text,structure", "image,text,structure,score", "score"])
def test_no_known_answer_is_drawn_in_any_precision(tiny_graph, dtype, modalities):
    (_, objective), examples = objectives(
        tiny_graph, sampler="mmrns", modalities=modalities, attention_width=6, structure_hidden=6, num_negatives=15
    )
    queries = Queries.of(examples[:100].to(GPU), TAIL)
    generator = torch.Generator(GPU).manual_seed(1)
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        negatives = objective.sampler.draw(queries, objective.model, 1, generator, True)
        loss = objective(examples[:100].to(GPU), 1, generator, True).loss
    known = objective.train_answers.contains(objective.train_answers.rows(queries), negatives.ids)
    assert not (known & negatives.valid).any()
    assert negatives.valid.float().mean() > 0.9
    assert torch.isfinite(loss)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)


@pytest.mark.parametrize("precision", ["no", "tf32", "bf16", "fp16"])
def test_a_run_on_a_gpu_ends_and_resumes(tiny_graph, tmp_path, precision):
    options = {
        "dataset": str(tiny_graph), "model": "rotate", "sampler": "mmrns", "dim": 8, "num_negatives": 4,
        "pool_size": 20, "batch_size": 16, "steps": 30, "valid_every": 10, "log_every": 5, "attention_width": 6,
        "structure_hidden": 6, "learning_rate": 0.05, "device": "cuda", "precision": precision,
    }  # fmt: skip
    before = torch.backends.cuda.matmul.allow_tf32
    whole = train(Config(**options, output=str(tmp_path / "whole")))

    def stop(step, metrics):
        if step == 20:
            raise InterruptedError

    config = Config(**options, output=str(tmp_path / "resumed"))
    with pytest.raises(InterruptedError):
        train(config, on_validation=stop)
    resumed = train(config, resume=True)
    assert torch.backends.cuda.matmul.allow_tf32 == before
    assert resumed["steps"] == whole["steps"] == 30
    # A GPU adds up in no fixed order, so the bits may differ, but not by much after a few steps.
    assert resumed["test"]["both"]["mrr"] == pytest.approx(whole["test"]["both"]["mrr"], abs=0.1)
    lines = [json.loads(line) for line in (tmp_path / "whole" / "history.jsonl").read_text().splitlines()]
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert losses[-1] < losses[0]
    assert json.loads((tmp_path / "whole" / "environment.json").read_text())["gpu"] == torch.cuda.get_device_name()


def test_a_run_that_was_moved_to_a_gpu_predicts_there(finished_run):
    asked = {"head": "e03", "relation": "r0", "k": 5}
    expected = load(finished_run).predict(**asked)
    trained = load(finished_run)
    trained.model.to(GPU)
    found = trained.predict(**asked)
    assert trained.device.type == "cuda"
    assert [answer.id for answer in found] == [answer.id for answer in expected]
    dataset = load_dataset(trained.config.dataset)
    completion = Completion(trained, dataset, k=2, method="none")
    assert sum(len(completion.facts(block)) for block in completion.blocks()) > 0


@pytest.mark.parametrize("options", [{"sparse": "always"}, {"sparse": "always", "optimizer": "adagrad"}], ids=str)
def test_rows_of_a_sparse_table_go_where_those_of_the_cpu_go(tiny_graph, options):
    pair, examples = objectives(tiny_graph, model="distmult", sampler=FIXED, **options)
    tables = []
    for objective, device in zip(pair, (CPU, GPU), strict=True):
        objective.model.entities.sparse = True
        optimizer = build_optimizer(objective.config, objective)
        for step in (1, 2):
            objective(examples[:40].to(device), step, torch.Generator(device), False).loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        tables.append(objective.model.entities.table.detach().cpu())
    torch.testing.assert_close(tables[1], tables[0], **CLOSE)


@pytest.mark.parametrize(
    "options",
    [{"sampler": "uniform", "model": "rotate"}, {"sampler": "uniform", "model": "complex", "regularization": 0.1}],
    ids=str,
)
def test_a_uniform_step_never_waits_for_the_gpu(tiny_graph, options):
    (_, objective), examples = objectives(tiny_graph, **options)
    batch, generator = examples[:64].to(GPU), torch.Generator(GPU)
    optimizer = torch.optim.Adam(objective.parameters(), fused=True)

    def step(number):
        generator.manual_seed(number)
        objective(batch, number, generator, False).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step(1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(2)
        step(3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
