"""Row-wise updates of the entity table: against a plain loop over rows, torch's dense optimiser, and the old step."""

import copy
import math

import pytest
import torch

from mmrns.cli import main
from mmrns.config import Config
from mmrns.encoders import build_encoder
from mmrns.errors import UserError
from mmrns.graph import load_dataset
from mmrns.training.batches import Batches
from mmrns.training.objective import build_objective
from mmrns.training.optimizer import (
    Together,
    build_optimizer,
    build_schedule,
    clip_gradients,
    continue_schedule,
    gradient_values,
    load_optimizer,
    sparse_table,
)
from mmrns.training.run_folder import RunFolder
from tests.tiny import SHORT_RUN, train_command

STEPS = 12


def objective_of(folder, sparse, **options):
    given = {name.replace("-", "_"): value for name, value in SHORT_RUN.items()} | {"sampler": "uniform"} | options
    config = Config(dataset=str(folder), **given)
    dataset = load_dataset(folder)
    torch.manual_seed(0)
    objective = build_objective(config, dataset, None, torch.device("cpu"))
    objective.model.entities.sparse = sparse
    return config, dataset, objective


def gradients(config, dataset, objective, before_step, steps=STEPS):
    """Train for a few steps; `before_step` sees the objective with its gradients, then steps."""
    batches = Batches(len(dataset.train), 4, 0)
    for step in range(1, steps + 1):
        generator = torch.Generator().manual_seed(step)
        triples = torch.from_numpy(dataset.train[batches.rows(step).numpy()])
        objective.zero_grad(set_to_none=True)
        objective(triples, step, generator, False).loss.backward()
        before_step(step)


@pytest.mark.parametrize("sampler", ["uniform", "mmrns"])
def test_the_sparse_gradient_is_the_dense_one(tiny_graph, sampler):
    options = {"sampler": sampler, "modalities": "structure", "regularization": 0.1}
    sides = [objective_of(tiny_graph, sparse, **options) for sparse in (False, True)]
    found = []
    for config, dataset, objective in sides:
        gradients(config, dataset, objective, lambda step: None, steps=1)
        found.append(objective.model.entities.table.grad)
    dense, sparse = found
    assert sparse.is_sparse and not dense.is_sparse
    torch.testing.assert_close(sparse.to_dense(), dense)
    assert len(sparse.coalesce().indices()[0]) < len(dense)


def test_adam_by_rows_is_a_plain_loop_in_which_untouched_rows_rest(tiny_graph):
    config, dataset, objective = objective_of(tiny_graph, True, learning_rate=0.05)
    optimizer = build_optimizer(config, objective)
    table = objective.model.entities.table
    expected = table.detach().clone().double().tolist()
    first = [[0.0] * table.shape[1] for _ in expected]
    second = [[0.0] * table.shape[1] for _ in expected]

    def step(number):
        gradient = table.grad.coalesce()
        for row, values in zip(gradient.indices()[0].tolist(), gradient.values().double().tolist(), strict=True):
            for column, g in enumerate(values):
                m = first[row][column] = 0.9 * first[row][column] + 0.1 * g
                v = second[row][column] = 0.999 * second[row][column] + 0.001 * g * g
                # The bias is that of the run's step, not of the row's.
                rate = 0.05 * math.sqrt(1 - 0.999**number) / (1 - 0.9**number)
                expected[row][column] -= rate * m / (math.sqrt(v) + 1e-8)
        optimizer.step()

    gradients(config, dataset, objective, step)
    torch.testing.assert_close(table.detach(), torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_adagrad_by_rows_is_dense_adagrad(tiny_graph):
    sides = [objective_of(tiny_graph, sparse, optimizer="adagrad", learning_rate=0.05) for sparse in (False, True)]
    for config, dataset, objective in sides:
        optimizer = build_optimizer(config, objective)
        gradients(config, dataset, objective, lambda step, optimizer=optimizer: optimizer.step())
    (_, _, dense), (_, _, sparse) = sides
    for mine, theirs in zip(sparse.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_clipping_a_sparse_gradient_is_clipping_the_dense_one(tiny_graph):
    sides = [objective_of(tiny_graph, sparse) for sparse in (False, True)]
    for config, dataset, objective in sides:
        gradients(config, dataset, objective, lambda step: None, steps=1)
    (_, _, dense), (_, _, sparse) = sides
    torch.nn.utils.clip_grad_norm_(dense.parameters(), 0.01)
    clip_gradients(sparse.parameters(), 0.01)
    assert float(torch.nn.utils.get_total_norm(gradient_values(sparse.parameters()))) == pytest.approx(0.01, rel=1e-3)
    for mine, theirs in zip(sparse.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.to_dense(), theirs.grad.to_dense())


def test_the_schedule_reaches_all_parts_also_after_loading_a_state(tiny_graph):
    config, _, objective = objective_of(tiny_graph, True, schedule="linear", warmup_steps=0)
    optimizer = build_optimizer(config, objective)
    assert isinstance(optimizer, Together)
    schedule = build_schedule(config, optimizer, 10)
    optimizer.load_state_dict(optimizer.state_dict())
    for _ in range(4):
        optimizer.step()
        schedule.step()
    assert [group["lr"] for part in optimizer.parts for group in part.param_groups] == pytest.approx(
        [0.6 * config.learning_rate] * 2
    )


def test_a_schedule_that_became_longer_goes_on_at_its_own_rates(tiny_graph):
    config, _, objective = objective_of(tiny_graph, False, schedule="linear", warmup_steps=0)
    ended, longer = build_optimizer(config, objective), build_optimizer(config, objective)
    schedule = build_schedule(config, ended, 10)
    for _ in range(10):
        ended.step()
        schedule.step()
    schedule = build_schedule(config, longer, 40)
    longer.load_state_dict(ended.state_dict())
    assert longer.param_groups[0]["lr"] == 0
    continue_schedule(schedule, 10)
    assert longer.param_groups[0]["lr"] == pytest.approx(0.75 * config.learning_rate)
    longer.step()
    schedule.step()
    assert longer.param_groups[0]["lr"] == pytest.approx(29 / 40 * config.learning_rate)


def moments(objective, optimizer):
    """Name of a parameter -> its state as the optimiser keeps it, numbers as tensors."""
    parts = getattr(optimizer, "parts", [optimizer])
    kept = {parameter: state for part in parts for parameter, state in part.state.items()}
    return {
        f"{name}/{key}": torch.as_tensor(value, dtype=torch.float32).clone()
        for name, parameter in objective.named_parameters()
        for key, value in kept[parameter].items()
    }


@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
@pytest.mark.parametrize("began_sparse", [True, False])
def test_a_state_goes_from_a_sparse_table_to_a_dense_one_and_back(tiny_graph, optimizer, began_sparse):
    options = {"optimizer": optimizer, "sampler": "mmrns", "modalities": "structure"}
    states, found = [], []
    for sparse in (began_sparse, not began_sparse, began_sparse):
        config, dataset, objective = objective_of(tiny_graph, sparse, **options)
        held = build_optimizer(config, objective)
        if states:
            load_optimizer(held, states[-1], objective)
        else:
            gradients(config, dataset, objective, lambda step, held=held: held.step())
        states.append(copy.deepcopy(held.state_dict()))
        found.append(moments(objective, held))
        gradients(config, dataset, objective, lambda step, held=held: held.step(), steps=1)
    for other in found[1:]:
        assert set(other) == set(found[0])
        assert all(torch.equal(other[name], value) for name, value in found[0].items())


@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
def test_a_resumed_sparse_run_has_the_bits_of_one_that_was_not_interrupted(tiny_graph, tmp_path, optimizer):
    options = {"sparse": "always", "optimizer": optimizer, "clip_gradient": 1.0, "valid_every": 10}
    assert main(train_command(tiny_graph, tmp_path / "part", **options | {"steps": 20, "schedule": "constant"})) == 0
    assert main(["train", "--resume", str(tmp_path / "part"), "--steps", "30"]) == 0
    assert main(train_command(tiny_graph, tmp_path / "thirty", **options | {"schedule": "constant"})) == 0
    states = [torch.load(RunFolder(tmp_path / name).state_file, weights_only=True) for name in ("part", "thirty")]
    resumed, straight = (state["objective"] for state in states)
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)
    moments = [state["optimizer"]["parts"][1]["state"][0] for state in states]
    assert all(torch.equal(moments[0][name], moments[1][name]) for name in moments[0] if name != "step")


def test_auto_is_for_large_tables_in_one_process_with_sampled_negatives():
    small, large = build_encoder("lookup", 10, 4, 1.0), build_encoder("lookup", 2, 4, 1.0)
    large.table = torch.nn.Parameter(torch.empty(2**23, 8, device="meta"))
    config = Config()
    assert not sparse_table(config, small)
    assert sparse_table(config, large)
    assert not sparse_table(config, large, launched=True)
    assert not sparse_table(config.model_copy(update={"objective": "1vsall"}), large)
    assert not sparse_table(config.model_copy(update={"sparse": "never"}), large)
    assert sparse_table(config.model_copy(update={"sparse": "always"}), small)
    with pytest.raises(UserError, match="--sparse always: what torchrun"):
        sparse_table(config.model_copy(update={"sparse": "always"}), small, launched=True)


def test_sparse_always_refuses_an_objective_over_all_entities(tiny_graph, tmp_path, capsys):
    command = train_command(tiny_graph, tmp_path / "run", sparse="always", objective="1vsall")
    assert main(command) == 2
    assert "--sparse always" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
