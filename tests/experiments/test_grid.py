"""Grids: what a YAML file declares, and one line on what is wrong with it."""

import re
from pathlib import Path

import pytest

from mmrns.cli import build_parser
from mmrns.config import Config
from mmrns.config_file import read_preset
from mmrns.config_io import load_config
from mmrns.errors import UserError
from mmrns.experiments.grid import as_text, load_grid


def write(folder, text, **configs):
    for name, content in {"base": "dim: 7\n", **configs}.items():
        (folder / "configs/d").mkdir(parents=True, exist_ok=True)
        (folder / f"configs/d/{name}.yaml").write_text(content)
    (folder / "configs/grids").mkdir(parents=True, exist_ok=True)
    file = folder / "configs/grids/g.yaml"
    file.write_text(text)
    return file


def test_a_row_is_a_cell_in_each_group_it_names(tmp_path):
    text = """
title: T
seeds: 2
against: base
groups:
  d: {config: 'd/base.yaml'}
  e: {config: 'd/base.yaml', seeds: 4}
  f: {config: 'd/base.yaml', seeds: {wide: 5}}
rows:
  base: {}
  wide: {label: Wide, set: {dim: 9}}
  often: {seeds: 3, groups: [d, e], set: {steps: 3}, against: wide}
"""
    grid = load_grid(write(tmp_path, text))
    assert [(c.name, c.seeds, c.against) for c in grid.cells] == [
        ("d/base", 2, ""), ("d/wide", 2, "base"), ("d/often", 3, "wide"),
        ("e/base", 4, ""), ("e/wide", 4, "base"), ("e/often", 4, "wide"),
        ("f/base", 2, ""), ("f/wide", 5, "base"),
    ]  # fmt: skip
    wide = grid.cells[1]
    assert (wide.config(3).dim, wide.config(3).seed, wide.label, grid.cells[0].label) == (9, 3, "Wide", "base")


def test_a_row_s_file_follows_from_its_name(tmp_path):
    grid = load_grid(write(tmp_path, "title: T\ngroups: {d: }\nrows: {base: , other: {config: '{group}/base.yaml'}}\n"))
    assert [cell.config().dim for cell in grid.cells] == [7, 7]
    assert grid.cells[0].file.resolve() == (tmp_path / "configs/d/base.yaml").resolve()


def test_a_grid_is_named_from_any_folder(tmp_path, monkeypatch):
    file = write(tmp_path, "title: T\ngroups: {d: }\nrows: {base: }\n")
    for folder, name in ((file.parent, "g.yaml"), (file.parents[1], "grids/g.yaml")):
        monkeypatch.chdir(folder)
        assert load_grid(Path(name)).cells[0].config().dim == 7


def test_the_weights_of_a_command_are_those_of_the_row(tmp_path):
    rows = "base: , other: {config: d/base.yaml}, both: {members: [base, other], weights: [1, 0.3333333]}"
    both = load_grid(write(tmp_path, f"title: T\ngroups: {{d: }}\nrows: {{{rows}}}\n")).cells[-1]
    arguments = build_parser().parse_args([*both.arguments(0), "--output", "both"])
    assert tuple(arguments.weights) == both.weights == (1.0, 0.3333333)


def test_the_command_of_a_cell_makes_its_configuration(tmp_path):
    options = {
        "model_options": {"p": 2}, "subsampling": False, "learning_rate": 1e-5, "modalities": "text,structure",
        "sampler_gradient": "off",
    }  # fmt: skip
    row = "{set: {model_options: {p: 2}, subsampling: false, learning_rate: 1e-5, modalities: 'text,structure', "
    row += "sampler_gradient: 'off'}, config: d/base.yaml}"
    cell = load_grid(write(tmp_path, f"title: T\ngroups: {{d: }}\nrows: {{r: {row}}}\n")).cells[0]
    arguments = vars(build_parser().parse_args(cell.arguments(4)))
    config = load_config({k: v for k, v in arguments.items() if k in Config.model_fields}, arguments["config"])
    assert config == cell.config(4) == Config(dim=7, seed=4, **options)


def test_a_preset_lies_below_what_a_row_sets(tmp_path):
    row = "{preset: published, set: {dim: 7}, config: d/base.yaml}"
    options = load_grid(write(tmp_path, f"title: T\ngroups: {{d: }}\nrows: {{r: {row}}}\n")).cells[0].options
    published = read_preset("published").values
    assert options == {**published, "dim": 7}


@pytest.mark.parametrize("value", [True, 3, 1e-5, "off", {"a": [1, None]}, "text,image"])
def test_values_as_flags_take_them(value):
    field = {bool: "subsampling", int: "dim", float: "learning_rate", dict: "model_options"}.get(type(value))
    if field:
        assert getattr(load_config({field: as_text(value)}), field) == value
    else:
        assert as_text(value) == value


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("rows:", "row:"), r"g\.yaml:\d+: row: "),
        (("set:", "sets:"), r"g\.yaml:4: rows: wide: sets: "),
        (("dim: 9", "dims: 9"), r"g\.yaml:4: rows: wide \(d\): --dims: unknown option"),
        (("dim: 9", "dim: none"), r"rows: wide \(d\): --dim: "),
        (("{set: {dim: 9}}", "3"), r"g\.yaml:4: rows: wide: "),
        (("seeds: 1", "seeds: many"), r"g\.yaml:2: seeds: "),
        (("seeds: 1", "seeds: 0"), r"rows: base \(d\): seeds: needs a number from 1"),
        (("d: {}", "d: {seeds: {base: 0}}"), r"rows: base \(d\): seeds"),
        (("d: {}", "n: {}"), r"rows: base \(n\): .*n/base\.yaml: no such file"),
        (("dim: 9}", "dim: 9}, against: narrow"), r"rows: wide \(d\): against narrow: d has no such row"),
        (("set:", "preset: none, set:"), r"rows: wide \(d\): preset none: unknown; choose one of .*published"),
        (("title: T", "title: [T]"), r"g\.yaml:1: title: "),
        (("groups: {d: {}}", "groups: {}"), r"g\.yaml:3: groups: "),
        (("d: {}", "d: {seeds: {wied: 3}}"), r"g\.yaml:3: groups: d: seeds: wied: d has no such row"),
        (("base: {}", "base: {groups: [e]}"), r"g\.yaml:4: rows: base: groups: e: no such group; name one of d"),
        (("base: {}", "base: {}, base: {}"), r"g\.yaml:4: base: given twice"),
    ],
)
def test_what_is_wrong_with_a_grid_is_named(tmp_path, change, says):
    text = "title: T\nseeds: 1\ngroups: {d: {}}\nrows: {base: {}, wide: {config: d/base.yaml, set: {dim: 9}}}\n"
    text = text.replace("{config: d/base.yaml, set: {dim: 9}}", "{set: {dim: 9}}")
    assert change[0] in text
    file = write(tmp_path, text.replace(*change), wide="dim: 8\n")
    with pytest.raises(UserError) as raised:
        load_grid(file)
    assert re.search(says, str(raised.value)), raised.value
    assert "g.yaml" in str(raised.value) and "\n" not in str(raised.value)


def test_features_that_a_cell_needs_are_asked_for_before_anything_runs(tmp_path, tiny_graph, monkeypatch):
    from mmrns.experiments.cells import require_features, run_cells

    plain = tmp_path / "plain"
    plain.mkdir()
    for split in ("train", "valid", "test"):
        (plain / f"{split}.txt").write_bytes((tiny_graph / f"{split}.txt").read_bytes())
    text = f"""
title: T
groups: {{d: {{needs: [text], extract: mmrns extract it}}}}
rows:
  uniform: {{config: d/base.yaml, set: {{dataset: {plain}, sampler: uniform}}}}
  structure: {{config: d/base.yaml, set: {{dataset: {plain}, modalities: structure}}}}
  there: {{config: d/base.yaml, set: {{dataset: {tiny_graph}}}}}
  elsewhere: {{config: d/base.yaml, set: {{dataset: {plain}, features: {tiny_graph}}}}}
  mmrns: {{config: d/base.yaml, set: {{dataset: {plain}}}}}
"""
    grid = load_grid(write(tmp_path, text))
    for cell in grid.cells[:-1]:
        require_features(grid, cell)
    launched = []
    with pytest.raises(UserError, match=r"features\.json: has no text features, which d/mmrns needs; make them with"):
        run_cells(grid, [(cell, 0) for cell in grid.cells], tmp_path / "runs", {}, launched.append, print)
    assert launched == []
    # Features that are given for every run are those that count.
    last = [(grid.cells[-1], 0)]
    machine = {"features": str(tiny_graph)}
    run_cells(grid, last, tmp_path / "runs", machine, lambda arguments: launched.append(arguments) or 0, print)
    assert launched[0][-2:] == ["--features", str(tiny_graph)]
