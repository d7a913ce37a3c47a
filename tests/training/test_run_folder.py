"""What a run leaves in its folder, and that the configured schedule and learning rates were applied."""

import importlib.metadata
import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmrns import load_dataset
from mmrns.cli import main
from mmrns.config import Config
from mmrns.config_io import load_config
from mmrns.errors import UserError
from mmrns.negatives.base import SamplerContext, build_sampler
from mmrns.processes import ALONE
from mmrns.scoring import build_model
from mmrns.training.batches import total_steps
from mmrns.training.optimizer import build_optimizer, build_schedule
from mmrns.training.run_folder import RunFolder
from mmrns.training.sampled import SampledObjective
from tests.tiny import ENTITIES, train_command

METRICS = {"mrr", "mr", "amri", "hits@1", "hits@3", "hits@10"}
PARTS = {"both", "head", "tail", "1-1", "1-N", "N-1", "N-N", "unseen"}


@pytest.fixture(scope="module")
def metrics(finished_run):
    return json.loads((finished_run / "metrics.json").read_text())


@pytest.fixture(scope="module")
def scalars(finished_run):
    """tag -> {step: value}."""
    events = EventAccumulator(str(finished_run / "tensorboard"))
    events.Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_the_files_of_a_run(finished_run):
    assert {path.name for path in finished_run.iterdir()} == {
        "config.yaml", "metrics.json", "ranks.parquet", "ranks-valid.parquet", "model.safetensors", "vocabulary.json",
        "state.pt", "environment.json", "tensorboard", "history.jsonl",
    }  # fmt: skip
    # As readable to others as any file made here.
    assert len({path.stat().st_mode & 0o777 for path in finished_run.iterdir() if path.is_file()}) == 1


def test_the_keys_of_metrics_json(metrics, finished_run):
    assert set(metrics) == {
        "dataset", "model", "sampler", "objective", "seed", "steps", "selection", "protocol", "features", "valid",
        "test", "triples_sha256", "train_seconds", "steps_per_second", "peak_memory_mb",
    }  # fmt: skip
    assert (metrics["dataset"], metrics["model"], metrics["sampler"]) == ("tiny", "transe", "mmrns")
    assert (metrics["seed"], metrics["steps"]) == (0, 30)
    assert set(metrics["selection"]) == {"rule", "split", "metric", "step"}
    assert metrics["selection"]["split"] == "valid"
    with safe_open(finished_run / "model.safetensors", framework="pt") as stored:
        assert stored.metadata() == {"step": str(metrics["selection"]["step"])}
    assert metrics["protocol"] == {
        "name": "own", "filter": "train+valid+test", "ties": "mean", "validation": "published"
    }  # fmt: skip
    for split in ("valid", "test"):
        assert set(metrics[split]) >= PARTS
        assert all(set(part) == METRICS | {"count"} for part in metrics[split].values())
    rates = [value for name, value in metrics["test"]["both"].items() if "hits" in name]
    assert all(0 <= rate <= 1 for rate in rates)
    assert all(metrics[name] > 0 for name in ("train_seconds", "steps_per_second", "peak_memory_mb"))


def test_metrics_can_be_computed_again_from_the_ranks(metrics, finished_run):
    for split, name in (("test", "ranks.parquet"), ("valid", "ranks-valid.parquet")):
        table = pd.read_parquet(finished_run / name)
        assert len(table) == metrics[split]["both"]["count"] == 60
        assert (table["rank"] == (table["optimistic"] + table["pessimistic"]) / 2).all()
        parts = {"both": table, "unseen": table[~table["seen"]], "seen": table[table["seen"]]}
        parts |= {direction: table[table["direction"] == direction] for direction in ("head", "tail")}
        parts |= {category: table[table["category"] == category] for category in ("1-1", "1-N", "N-1", "N-N")}
        parts |= {f"has-{m}": table[table[f"has_{m}"]] for m in ("image", "text")}
        parts |= {f"no-{m}": table[~table[f"has_{m}"]] for m in ("image", "text")}
        assert set(parts) == set(metrics[split])
        for part, rows in parts.items():
            found, rank = metrics[split][part], rows["rank"].to_numpy()
            assert found["count"] == len(rank)
            if not len(rank):
                assert {value for key, value in found.items() if key != "count"} == {None}
                continue
            assert found["mrr"] == pytest.approx(np.mean(1 / rank), abs=1e-12)
            assert found["mr"] == pytest.approx(np.mean(rank), abs=1e-12)
            chance = np.mean((rows["candidates"] + 1) / 2)
            assert found["amri"] == pytest.approx(1 - (np.mean(rank) - 1) / (chance - 1), abs=1e-12)
            for k in (1, 3, 10):
                assert found[f"hits@{k}"] == pytest.approx(np.mean(rank <= k), abs=1e-12)
        assert metrics[split]["unseen"]["count"] == (2 if split == "test" else 0)


def test_a_row_of_the_ranks_is_a_query_of_the_split(finished_run, tiny_graph):
    table = pd.read_parquet(finished_run / "ranks.parquet")
    wanted = [line.split("\t") for line in (tiny_graph / "test.txt").read_text().splitlines()]
    for direction in ("head", "tail"):
        rows = table[table["direction"] == direction]
        assert rows[["head", "relation", "tail"]].to_numpy().tolist() == wanted
    assert set(table.columns) == {
        "head", "relation", "tail", "head_label", "relation_label", "tail_label", "direction", "rank",
        "optimistic", "pessimistic",
        "candidates", "category", "has_image", "has_text", "seen",
        "degree",
    }  # fmt: skip


def test_config_yaml_is_complete_and_reloads_to_the_same_options(finished_run, tiny_graph):
    assert set(yaml.safe_load((finished_run / "config.yaml").read_text())) == set(Config.model_fields)
    config = load_config({}, finished_run / "config.yaml")
    assert (config.dataset, config.dim, config.sampler) == (str(tiny_graph), 8, "mmrns")


def test_a_run_can_be_repeated_from_its_config_yaml(finished_run, metrics, tmp_path):
    argv = ["train", "--config", str(finished_run / "config.yaml"), "--output", str(tmp_path / "again")]
    assert main(argv) == 0
    again = json.loads((tmp_path / "again/metrics.json").read_text())
    assert (again["test"], again["valid"]) == (metrics["test"], metrics["valid"])


def test_vocabulary_json_names_every_row(finished_run, tiny_graph):
    dataset = load_dataset(tiny_graph)
    content = json.loads((finished_run / "vocabulary.json").read_text())
    for kind, names in (("entities", dataset.entities), ("relations", dataset.relations)):
        assert content[kind] == {"ids": names.ids, "labels": names.labels, "sha256": names.sha256}
    assert content["entities"]["labels"][5] == "Thing 5"


def test_environment_json_says_what_made_the_run(finished_run):
    environment = json.loads((finished_run / "environment.json").read_text())
    assert {"command", "git_commit", "python", "platform", "host", "cpus", "memory_mb", "gpu"} <= set(environment)
    assert environment["versions"]["torch"] == importlib.metadata.version("torch")


def test_tensorboard_holds_what_the_run_was_like(scalars):
    wanted = {
        "loss", "loss/kgc", "loss/sampler", "learning_rate", "epsilon", "false_negative_rate", "steps_per_second",
        "entropy/image", "entropy/text", "entropy/structure", "entropy/all", "gradient_norm/model",
        "gradient_norm/sampler",
    }  # fmt: skip
    assert {f"train/{name}" for name in wanted} <= set(scalars)
    assert set(scalars["train/loss"]) == {5, 10, 15, 20, 25, 30}
    assert set(scalars["valid/mrr"]) == {10, 20, 30}
    for name, values in scalars.items():
        assert np.isfinite(list(values.values())).all(), name
    assert all(0 <= value <= 1 for value in scalars["train/false_negative_rate"].values())
    for step, epsilon in scalars["train/epsilon"].items():
        assert epsilon == pytest.approx(10 / (1 + np.log(step)), rel=1e-5)
    assert all(value > 0 for value in scalars["train/gradient_norm/sampler"].values())


def test_the_schedule_is_applied(scalars):
    # 0.05 after 5 steps of warm-up, then a line to 0 at step 30; the rate shown is the next step's.
    assert scalars["train/learning_rate"][5] == pytest.approx(0.05)
    for step in (10, 15, 20, 25, 30):
        assert scalars["train/learning_rate"][step] == pytest.approx(0.05 * (30 - step) / 25, abs=1e-9)


def parts_of(tiny_graph, **options):
    config = Config(dim=4, num_negatives=4, pool_size=20, **options)
    dataset = load_dataset(tiny_graph)
    torch.manual_seed(0)
    model = build_model("transe", ENTITIES, 4, config.dim, config.gamma)
    answers = dataset.answers("train")
    sampler = build_sampler(config, SamplerContext(answers, None, model.entities.width, 4))
    objective = SampledObjective(config, model, sampler, answers, dataset.answers("valid", "test"))
    optimizer = build_optimizer(config, objective)
    return objective, optimizer, build_schedule(config, optimizer, 20)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", lambda step: 1.0),
        ("linear", lambda step: (20 - step) / 16),
        ("cosine", lambda step: (1 + np.cos(np.pi * (step - 4) / 16)) / 2),
    ],
)
def test_every_step_takes_the_rate_of_the_schedule(tiny_graph, schedule, expected):
    _, optimizer, rates = parts_of(
        tiny_graph, schedule=schedule, warmup_steps=4, learning_rate=2.0, sampler_learning_rate=3.0
    )
    for step in range(20):
        factor = (step + 1) / 5 if step < 4 else expected(step)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([2 * factor, 3 * factor])
        optimizer.step()
        rates.step()
    if schedule != "constant":
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_model_and_sampler_each_move_at_their_own_rate(tiny_graph):
    objective, optimizer, _ = parts_of(tiny_graph, learning_rate=0.25, sampler_learning_rate=0.01, sampler="mmrns")
    modules = {0.25: objective.model, 0.01: objective.sampler}
    before = {rate: [p.detach().clone() for p in module.parameters()] for rate, module in modules.items()}
    for module in modules.values():
        for parameter in module.parameters():
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for rate, module in modules.items():
        assert before[rate]
        for old, new in zip(before[rate], module.parameters(), strict=True):
            torch.testing.assert_close(old - new, torch.full_like(new, rate))  # Adam's first step is the rate


def test_early_stopping_uses_the_best_validation(tiny_graph, tmp_path):
    argv = train_command(tiny_graph, tmp_path / "run", steps=200, valid_every=2, patience=2, metric="hits@10")
    assert main(argv) == 0
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["steps"] == metrics["selection"]["step"] + 4
    assert metrics["selection"]["metric"] == "both.hits@10"
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    seen = {e.step: e.value for e in events.Scalars("valid/hits@10")}
    best = max(seen, key=seen.get)  # the first of equals
    assert metrics["selection"]["step"] == best
    assert metrics["valid"]["both"]["hits@10"] == pytest.approx(seen[best])


def test_steps_win_over_epochs_and_epochs_cover_train():
    assert total_steps(Config(steps=7, epochs=9), 100) == 7
    assert total_steps(Config(epochs=3, batch_size=32), 100) == 10
    assert total_steps(Config(batch_size=100), 100) == 100


def test_a_parameter_that_is_a_view_moves_as_a_whole_and_alone(tiny_graph):
    """PyTorch's fused Adam would take the memory after the first row for the second row."""
    config = Config(dim=4, num_negatives=4, sampler="uniform")
    dataset = load_dataset(tiny_graph)
    model = build_model("transe", ENTITIES, 4, config.dim, config.gamma)
    both = torch.zeros(ENTITIES, 9)
    model.entities.table = torch.nn.Parameter(both[:, :4])
    answers = dataset.answers("train")
    sampler = build_sampler(config, SamplerContext(answers, None, 4, 4))
    objective = SampledObjective(config, model, sampler, answers, answers)
    optimizer = build_optimizer(config, objective)
    model.entities.table.grad = torch.ones(ENTITIES, 4)
    optimizer.step()
    torch.testing.assert_close(model.entities.table.detach(), torch.full((ENTITIES, 4), -config.learning_rate))
    assert not both.any()


def test_a_folder_that_is_refused_is_left_as_it_is(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    partial = run.path / ".config.yaml.7.partial"
    partial.touch()
    run.claim(Config())
    assert not partial.exists()
    partial.touch()
    with pytest.raises(UserError, match="already holds something"):
        run.claim(Config())
    assert partial.exists()  # another process may be writing it


def test_trainings_without_any_lock_are_not_kept_away(tmp_path, monkeypatch):
    """In a folder that may not be written, as one that is only read again."""
    run = RunFolder(tmp_path / "run")
    run.claim(Config())

    def refused(path):
        raise UserError("cannot be written")

    monkeypatch.setattr("mmrns.processes.claimed", refused)
    with run.held(ALONE), run.held(ALONE):
        assert run.begun() is False
