"""1vsall and kvsall against loops over queries and answers, and whole runs with them."""

import json

import pytest
import torch

from mmrns import load_dataset
from mmrns.cli import main
from mmrns.config import Config
from mmrns.errors import UserError
from mmrns.graph.answers import HEAD, TAIL
from mmrns.training.objective import build_objective
from tests.tiny import train_command


def build(tiny_graph, **options):
    dataset = load_dataset(tiny_graph)
    config = Config(**({"dataset": str(tiny_graph), "objective": "1vsall", "model": "complex", "dim": 3} | options))
    torch.manual_seed(1)
    objective = build_objective(config, dataset, None, torch.device("cpu")).double()
    return dataset, objective, objective.examples(dataset)


def answers_of(dataset):
    found = {}
    for h, r, t in dataset.train.tolist():
        found.setdefault((t, r, HEAD), set()).add(h)
        found.setdefault((h, r, TAIL), set()).add(t)
    return found


def result(objective, examples, measure=False):
    return objective(examples, 1, torch.Generator().manual_seed(0), measure)


def test_examples_are_the_distinct_queries_of_train(tiny_graph):
    dataset, _, examples = build(tiny_graph)
    assert len(examples) == len({tuple(row) for row in examples.tolist()})
    assert {tuple(row) for row in examples.tolist()} == set(answers_of(dataset))


@pytest.mark.parametrize("model", ["complex", "transe"])
@pytest.mark.parametrize("reciprocal", [False, True])
@pytest.mark.parametrize("objective_name", ["1vsall", "kvsall"])
def test_the_loss_is_the_sum_over_queries_and_answers(tiny_graph, model, reciprocal, objective_name):
    dataset, objective, examples = build(tiny_graph, model=model, reciprocal=reciprocal, objective=objective_name)
    batch, known = examples[::3], answers_of(dataset)
    net, count = objective.model, len(dataset.relations)
    everyone = net.entities.everything()
    total, pairs = 0.0, 0
    for anchor, relation, direction in batch.tolist():
        row = relation + count if reciprocal and direction == HEAD else relation
        vector, of_relation = everyone[anchor], net.relations.weight[row]
        if direction == HEAD and not reciprocal:
            scores = torch.stack([net.scoring.score(other, of_relation, vector) for other in everyone])
        else:
            scores = torch.stack([net.scoring.score(vector, of_relation, other) for other in everyone])
        answers = sorted(known[anchor, relation, direction])
        pairs += len(answers)
        if objective_name == "1vsall":
            total = total - sum(torch.log_softmax(scores, 0)[answer] for answer in answers)
        else:
            target = torch.zeros_like(scores)
            target[answers] = 1
            total = total + torch.nn.functional.binary_cross_entropy_with_logits(scores, target, reduction="sum")
    torch.testing.assert_close(result(objective, batch).loss, total / pairs, rtol=1e-10, atol=0)


def n3(net, anchor, relation, answer, direction):
    def numbers(vector):
        return torch.complex(*vector.chunk(2)) if net.scoring.complex_vectors else vector

    return sum((numbers(vector).abs() ** 3).sum() for vector in (anchor, relation, answer))


def dura(net, anchor, relation, answer, direction):
    """The query's vectors number by number: the scores of unit vectors as answers."""
    units = torch.eye(len(anchor), dtype=anchor.dtype)
    as_tails = torch.stack([net.scoring.score(anchor if direction else answer, relation, unit) for unit in units])
    as_heads = torch.stack([net.scoring.score(unit, relation, answer if direction else anchor) for unit in units])
    bare = (anchor**2).sum() + (answer**2).sum()
    return 0.5 * bare + 1.5 * ((as_tails**2).sum() + (as_heads**2).sum())


@pytest.mark.parametrize("model", ["complex", "rescal"])
@pytest.mark.parametrize("reciprocal", [False, True])
@pytest.mark.parametrize("regularizer", [n3, dura], ids=lambda penalty: penalty.__name__)
def test_the_regulariser_is_that_of_every_pair(tiny_graph, model, reciprocal, regularizer):
    name = regularizer.__name__
    options = {"model": model, "reciprocal": reciprocal, "regularization": 0.3, "regularizer": name}
    dataset, objective, examples = build(tiny_graph, **options)
    batch, known, net = examples[:20], answers_of(dataset), objective.model
    table, relations = net.entities.table, net.relations.weight
    total, pairs = 0.0, 0
    for anchor, relation, direction in batch.tolist():
        inverse = reciprocal and direction == HEAD
        of_relation = relations[relation + len(dataset.relations) if inverse else relation]
        for answer in known[anchor, relation, direction]:
            posed = TAIL if inverse else direction
            total = total + regularizer(net, table[anchor], of_relation, table[answer], posed)
            pairs += 1
    found = result(objective, batch, measure=True).metrics[f"loss/{name}"]
    torch.testing.assert_close(found, (0.3 * total / pairs).detach(), rtol=1e-9, atol=0)


def test_dura_is_refused_where_scores_are_no_products(tiny_graph):
    with pytest.raises(UserError, match="--regularizer dura: rotate scores no products of vectors; give n3"):
        build(tiny_graph, model="rotate", regularizer="dura", regularization=0.1)


@pytest.mark.parametrize("name", ["1vsall", "kvsall"])
def test_the_gradients_of_a_batch_split_in_two_add_up_weighed_by_their_pairs(tiny_graph, name):
    dataset, objective, examples = build(tiny_graph, objective=name, reciprocal=True)
    known = answers_of(dataset)

    def gradient_and_pairs(batch):
        loss = result(objective, batch).loss
        return torch.autograd.grad(loss, objective.model.entities.table)[0], sum(
            len(known[query]) for query in map(tuple, batch.tolist())
        )

    batch = examples[torch.randperm(len(examples), generator=torch.Generator().manual_seed(2))[:30]]
    (whole, pairs), *halves = (gradient_and_pairs(part) for part in (batch, batch[:11], batch[11:]))
    assert pairs > len(batch)  # or else the number of queries would do
    together = sum(gradient * number for gradient, number in halves) / pairs
    torch.testing.assert_close(together, whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sampler", ["uniform", "mmrns"])
def test_sampled_negatives_beside_all_entities_add_their_loss(tiny_graph, sampler):
    options = {"sampler": sampler, "modalities": "structure", "num_negatives": 5, "pool_size": 20}
    _, alone, examples = build(tiny_graph, **options)
    _, both, _ = build(tiny_graph, **options, sampled_weight=0.5)
    both.model.load_state_dict(alone.model.state_dict())
    assert not list(alone.sampler.parameters())
    found = result(both, examples[:16], measure=True).metrics
    torch.testing.assert_close(found["loss/1vsall"], result(alone, examples[:16]).loss.detach())
    torch.testing.assert_close(found["loss"], found["loss/1vsall"] + found["loss/sampled"])
    assert found["loss/sampled"] > 0
    assert 0 < result(both, examples, measure=True).metrics["false_negative_rate"] < 0.5
    assert not result(both, examples).metrics


@pytest.mark.parametrize("name", ["1vsall", "kvsall"])
def test_a_run_learns_resumes_and_predicts(tiny_graph, tmp_path, name):
    run = tmp_path / "run"
    options = {"model": "complex", "objective": name, "optimizer": "adagrad", "learning_rate": 0.5}
    command = [*train_command(tiny_graph, run, sampler="mmrns", **options), "--reciprocal", "true"]
    assert main(command) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["objective"], metrics["sampler"]) == (name, "none")
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    losses = [record["train/loss"] for record in history if "train/loss" in record]
    assert losses[-1] < losses[0]
    assert main(["evaluate", str(run)]) == 0
    assert main(["predict", str(run), "--head", "e00", "--relation", "r0"]) == 0


def test_the_run_folder_is_named_by_the_objective():
    named = [
        Config(objective=name, sampled_weight=weight, sampler="uniform").run_folder.name
        for name, weight in (("sampled", 0), ("1vsall", 0), ("kvsall", 0.1))
    ]
    assert named == ["pictokg-rotate-uniform-0", "pictokg-rotate-1vsall-0", "pictokg-rotate-kvsall-uniform-0"]


@pytest.mark.parametrize("model", ["complex", "transe"])
@pytest.mark.parametrize("reciprocal", [False, True])
def test_relation_prediction_adds_the_cross_entropy_of_every_pairs_relation(tiny_graph, model, reciprocal):
    options = {"model": model, "reciprocal": reciprocal}
    dataset, plain, examples = build(tiny_graph, **options)
    _, objective, _ = build(tiny_graph, relation_prediction=0.3, **options)
    batch, known, net, count = examples[::3], answers_of(dataset), plain.model, len(dataset.relations)
    table, relations = net.entities.table, net.relations.weight
    total, pairs = 0.0, 0
    for anchor, relation, direction in batch.tolist():
        offered = relations[count:] if reciprocal and direction == HEAD else relations[:count]
        for answer in known[anchor, relation, direction]:
            pairs += 1
            pair = (answer, anchor) if direction == HEAD and not reciprocal else (anchor, answer)
            scores = torch.stack([net.scoring.score(table[pair[0]], offer, table[pair[1]]) for offer in offered])
            total = total - torch.log_softmax(scores, 0)[relation]
    expected = result(plain, batch).loss + 0.3 * total / pairs
    found = result(objective, batch, measure=True)
    torch.testing.assert_close(found.loss, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.metrics["loss/relation"], 0.3 * total.detach() / pairs, rtol=1e-6, atol=0)
