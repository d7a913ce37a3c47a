"""Every configuration that the project ships: it loads, says what it claims, and takes a step."""

import json
from pathlib import Path

import pytest
import torch

from mmrns.config import options_by_section
from mmrns.config_file import read_config_file
from mmrns.config_io import load_config
from mmrns.experiments.grid import load_grid
from mmrns.experiments.published import METRICS, published_row, published_rows
from mmrns.experiments.search_space import load_search_space
from mmrns.experiments.tuning_record import unequal_pairs
from mmrns.graph import load_dataset
from mmrns.training.loop import open_features
from mmrns.training.objective import build_objective
from mmrns.training.optimizer import build_optimizer

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
DATASETS = {"db15k": "DB15K", "mkg-w": "MKG-W", "mkg-y": "MKG-Y"}
MODELS = {"rotate": "RotatE", "pairre": "PairRE", "transe": "TransE", "distmult": "DistMult", "complex": "ComplEx"}
FILES = sorted(p for p in CONFIGS.rglob("*.yaml") if p.parent.name not in ("base", "grids", "search"))
GRIDS = sorted((CONFIGS / "grids").glob("*.yaml"))
every_file = pytest.mark.parametrize("file", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
every_benchmark = pytest.mark.parametrize(
    "file",
    [p for p in FILES if p.parent.name in DATASETS and p.stem != "ablation"],
    ids=lambda p: f"{p.parent.name}/{p.stem}",
)


def test_there_is_one_for_each_dataset_model_and_sampler():
    names = {(p.parent.name, p.stem) for p in FILES}
    assert names >= {(d, f"{m}-{s}") for d in DATASETS for m in MODELS for s in ("uniform", "mmrns")}


def take_a_step(config, tiny_graph):
    """A step of a configuration on the tiny graph; returns the loss and how far the entities moved."""
    small = {"dataset": str(tiny_graph), "batch_size": 16, "device": "cpu", "features": "", "num_negatives": 20}
    config = config.model_copy(update=small)
    torch.manual_seed(0)
    dataset = load_dataset(config.dataset)
    objective = build_objective(
        config, dataset, open_features(dataset, config, torch.device("cpu")), torch.device("cpu")
    )
    optimizer = build_optimizer(config, objective)
    before = [p.detach().clone() for p in objective.model.parameters()]
    result = objective(objective.examples(dataset)[:16], 1, torch.Generator().manual_seed(0), measure=True)
    result.loss.backward()
    optimizer.step()
    moved = max(
        float((p.detach() - old).abs().max()) for p, old in zip(objective.model.parameters(), before, strict=True)
    )
    return result, moved


@every_file
def test_it_takes_a_step(file, tiny_graph):
    result, moved = take_a_step(load_config({}, file), tiny_graph)
    assert torch.isfinite(result.loss) and 0 < moved < 1


@every_benchmark
def test_it_is_what_its_name_says(file):
    config = load_config({}, file)
    model, _, negatives = file.stem.partition("-")
    assert config.dataset == DATASETS[file.parent.name]
    if negatives in ("uniform", "mmrns"):
        assert (config.model, config.sampler, config.objective) == (model, negatives, "sampled")


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("model", MODELS)
def test_mmrns_differs_from_uniform_in_the_sampler_alone(dataset, model):
    """So that a comparison of the two compares samplers; a tuned pair may differ in what tuning chose."""
    uniform, mmrns = (load_config({}, CONFIGS / dataset / f"{model}-{s}.yaml") for s in ("uniform", "mmrns"))
    for name in ("model", "dim", "num_negatives", "batch_size", "steps", "valid_every", "metric", "reciprocal"):
        assert getattr(uniform, name, None) == getattr(mmrns, name, None), name


@every_benchmark
def test_its_published_numbers_are_those_of_the_collection(file):
    published = read_config_file(file).published
    row = published_row(DATASETS[file.parent.name], published["method"])
    assert {name: published[name] for name in METRICS if name in published} == row.values
    assert published["source"] == row.source
    if file.stem.endswith("-uniform"):
        assert published["method"] == MODELS[file.stem.partition("-")[0]]
    if file.stem.endswith("-mmrns"):
        assert published["method"] == "MMRNS"


@pytest.mark.parametrize("section", ["Negatives", "MMRNS", "Hardness", "L_con", "Loss", "Optimisation"])
def test_the_published_preset_leaves_no_option_to_its_default(section):
    named = read_config_file(CONFIGS / "presets/published.yaml").values
    assert set(options_by_section()[section]) <= set(named)
    assert named["learning_rate"] == named["sampler_learning_rate"] == 0.0001


def test_the_collection_of_published_numbers_says_where_each_is_from():
    rows = published_rows()
    assert len(rows) > 60
    for row in rows.values():
        assert row.source and row.kind in ("structure", "sampling", "multimodal", "llm")
        assert all(0 < value < 100 for value in row.values.values())
    assert published_row("DB15K", "MMRNS").values["mrr"] == 32.68
    assert published_row("MKG-W", "MMRNS").values["mrr"] == 35.03
    assert published_row("MKG-Y", "MMRNS").values["mrr"] == 35.93


@pytest.mark.parametrize("file", GRIDS, ids=lambda p: p.stem)
def test_a_grid_loads_and_its_cells_differ(file):
    grid = load_grid(file)
    for group in grid.groups:
        configs = [(cell.config(), cell.members) for cell in grid.cells if cell.group == group]
        assert all(one != other for n, one in enumerate(configs) for other in configs[:n])


def test_the_main_grid_is_the_benchmark():
    names = {cell.name for cell in load_grid(CONFIGS / "grids/main.yaml").cells}
    assert names >= {
        f"{d}/{m}-{s}" for d in DATASETS for m in ("rotate", "pairre", "complex") for s in ("uniform", "mmrns")
    }


ROWS = [cell for cell in load_grid(CONFIGS / "grids/ablation.yaml").cells if cell.group == "pictokg"]


@pytest.mark.parametrize("cell", ROWS, ids=lambda cell: cell.row)
def test_a_row_of_the_ablation_takes_a_step(cell, tiny_graph):
    result, moved = take_a_step(cell.config(), tiny_graph)
    assert torch.isfinite(result.loss) and 0 < moved < 1


TUNED = [
    (d, p) for p in sorted((CONFIGS / "search").glob("*-*.yaml")) for d in DATASETS if (CONFIGS / d / p.name).is_file()
]


@pytest.mark.parametrize(("dataset", "file"), TUNED, ids=lambda p: getattr(p, "stem", p))
def test_a_space_fits_its_configuration_and_holds_its_own_values(dataset, file):
    config_file = CONFIGS / dataset / file.name
    space = load_search_space(file, config_file)
    assert space.outside(space.own_values(load_config({}, config_file))) == []


def test_every_row_of_the_main_grid_that_selects_on_valid_has_a_space():
    cells = [cell for cell in load_grid(CONFIGS / "grids/main.yaml").cells if not cell.members]
    assert {p.stem for _, p in TUNED} >= {cell.file.stem for cell in cells if cell.config().selection == "best"}


@pytest.mark.parametrize("model", MODELS)
def test_the_search_of_mmrns_is_that_of_uniform_and_the_sampler(model):
    uniform, mmrns = (
        load_search_space(CONFIGS / f"search/{model}-{s}.yaml", CONFIGS / f"mkg-y/{model}-{s}.yaml").described()
        for s in ("uniform", "mmrns")
    )
    assert {name: mmrns[name] for name in uniform} == uniform
    assert set(mmrns) - set(uniform) == set(read_config_file(CONFIGS / "search/sampler.yaml").values)


def test_recorded_pairs_have_as_many_trials():
    files = (CONFIGS.parent / "results/tune").glob("*/search.json")
    assert unequal_pairs([json.loads(file.read_text(encoding="utf-8")) for file in files]) == []


@pytest.mark.parametrize(("counted", "says"), [(12, []), (11, ["m: 11 trials, its pair u 12"])])
def test_a_pair_with_another_number_of_trials_is_found(counted, says):
    uniform = {"study": "u", "pair": "", "counted": 12}
    assert unequal_pairs([{"study": "m", "pair": "u", "counted": counted}, uniform]) == says
    assert unequal_pairs([{"study": "m", "pair": "u", "counted": counted}]) == [f"m: {counted} trials, its pair u none"]
