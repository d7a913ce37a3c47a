"""`mmrns reproduce`, end to end on a grid of five short runs."""

import csv
import json
import re
import shutil
import statistics

import pandas as pd
import pytest
import yaml

from mmrns.cli import main
from mmrns.config_io import load_config
from mmrns.experiments.cells import run_cells
from mmrns.experiments.grid import load_grid
from tests.experiments.tiny_grid import GRID, reproduce, reproduce_until_killed, write_grid
from tests.locks import held_elsewhere

RUNS = ["uniform/seed-0", "uniform/seed-1", "mmrns/seed-0", "mmrns/seed-1", "short/seed-0"]


def metrics_of(folder):
    found = json.loads((folder / "metrics.json").read_text())
    return {name: found[name] for name in ("steps", "selection", "valid", "test")}


def table(grid, runs, results, capsys):
    """The page, the CSV's rows by name, and standard error of `reproduce --table`."""
    capsys.readouterr()
    assert reproduce(grid, runs, "--table", "--results", results) == 0
    with (results / "tiny.csv").open() as file:
        rows = {record["row"]: record for record in csv.DictReader(file)}
    return (results / "tiny.md").read_text(), rows


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refuse(capsys, *argv):
    """The one line of a command that must fail."""
    capsys.readouterr()
    assert main([str(argument) for argument in argv]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_each_cell_is_one_run_folder_with_its_options_and_seed(tiny_runs):
    grid, runs = tiny_runs
    assert sorted(str(p.parent.relative_to(runs / "tiny")) for p in runs.rglob("metrics.json")) == sorted(RUNS)
    config = load_config({}, runs / "tiny/mmrns/seed-1/config.yaml")
    assert (config.sampler, config.seed, config.steps) == ("mmrns", 1, 30)
    assert load_config({}, runs / "tiny/short/seed-0/config.yaml").steps == 20
    # A cell is what `mmrns train` makes of the command that is shown for it.
    cell = load_grid(grid).cells[1]
    assert cell.arguments(1)[-4:] == ["--sampler", "mmrns", "--seed", "1"]


def test_every_cell_has_a_first_seed_before_any_has_a_second(tiny_runs, capsys):
    grid, runs = tiny_runs
    assert reproduce(grid, runs / "elsewhere", "--dry-run") == 0
    listed = re.findall(r"^(tiny/\w+) seed (\d): (\w+)", capsys.readouterr().out, re.MULTILINE)
    assert listed == [
        ("tiny/uniform", "0", "absent"), ("tiny/mmrns", "0", "absent"), ("tiny/short", "0", "absent"),
        ("tiny/uniform", "1", "absent"), ("tiny/mmrns", "1", "absent"),
    ]  # fmt: skip
    assert not (runs / "elsewhere").exists()


def test_what_is_done_is_not_run_again(tiny_runs, in_this_process, capsys):
    grid, runs = tiny_runs
    before = files_of(runs)
    assert reproduce(grid, runs) == 0
    assert files_of(runs) == before
    capsys.readouterr()
    assert reproduce(grid, runs, "--dry-run", "--json") == 0
    assert {row["state"] for row in json.loads(capsys.readouterr().out)} == {"done"}


def test_a_killed_reproduce_goes_on_to_the_same_numbers(tiny_runs, tmp_path, in_this_process, capsys):
    _, uninterrupted = tiny_runs
    grid, runs = tiny_runs[0], tmp_path / "runs"
    assert reproduce_until_killed(grid, runs, at_batch=48) == -9  # step 18 of the second run
    assert reproduce(grid, runs, "--dry-run") == 0
    states = re.findall(r"seed \d: (\w+(?: \(step \d+\))?)", capsys.readouterr().out)
    assert states == ["done", "started (step 15)", "absent", "absent", "absent"]
    assert reproduce(grid, runs) == 0
    for name in RUNS:
        assert metrics_of(runs / "tiny" / name) == metrics_of(uninterrupted / "tiny" / name), name


def test_only_and_seeds_choose_runs(tiny_runs, tmp_path, in_this_process, capsys):
    grid, _ = tiny_runs
    assert reproduce(grid, tmp_path, "--only", "tiny/m*", "tiny/short", "--seeds", 1, "--set", "steps=5") == 0
    made = sorted(str(p.parent.relative_to(tmp_path)) for p in tmp_path.rglob("metrics.json"))
    assert made == ["tiny/mmrns/seed-0", "tiny/short/seed-0"]
    assert all(metrics_of(tmp_path / name)["steps"] == 5 for name in made)
    # Without the override these are no longer the grid's runs, and nobody takes them for such.
    message = refuse(capsys, "reproduce", grid, "--runs", tmp_path, "--only", "tiny/short")
    assert "tiny/short/seed-0: was run with steps: 5, the cell says 20; give --redo" in message
    assert reproduce(grid, tmp_path, "--only", "tiny/short", "--redo") == 0
    assert metrics_of(tmp_path / "tiny/short/seed-0")["steps"] == 20


def test_a_run_that_another_process_made_otherwise_meanwhile_is_kept(tiny_runs, tmp_path):
    grid = load_grid(tiny_runs[0])
    chosen = [(cell, 0) for cell in grid.select(["tiny/short", "tiny/mmrns"])]
    first, second = (cell.folder(tmp_path, 0) for cell, _ in chosen)
    launched = []

    def launch(arguments):
        launched.append(arguments)
        shutil.copytree(tiny_runs[1] / second.relative_to(tmp_path), second)
        config = yaml.safe_load((second / "config.yaml").read_text())
        (second / "config.yaml").write_text(yaml.safe_dump(config | {"learning_rate": 0.5}))
        return 0

    failed = run_cells(grid, chosen, tmp_path, {}, launch, print)
    assert len(launched) == len(failed) == 1 and "learning_rate: 0.5" in failed[0]
    assert (second / "metrics.json").is_file() and not first.exists()


def test_options_of_the_machine_are_not_options_of_the_cell(tiny_runs, tmp_path, in_this_process, capsys):
    grid, _ = tiny_runs
    assert reproduce(grid, tmp_path, "--only", "tiny/short", "--set", "log_every=7", "eval-memory-mb=1") == 0
    assert load_config({}, tmp_path / "tiny/short/seed-0/config.yaml").log_every == 7
    assert reproduce(grid, tmp_path, "--only", "tiny/short", "--dry-run") == 0
    assert "1 of 1 runs are done" in capsys.readouterr().out


def test_one_run_that_fails_leaves_the_others_to_run(tiny_runs, tmp_path, tiny_graph, in_this_process, capsys):
    text = "title: t\ngroups: {tiny: }\nrows:\n"
    text += "  bad: {config: tiny/base.yaml, set: {model: no_such}}\n"
    text += "  good: {config: tiny/base.yaml, set: {steps: 4}}\n"
    grid = write_grid(tmp_path, tiny_graph, text)
    assert reproduce(grid, tmp_path / "runs") == 2
    assert "1 of 2 runs failed; tiny/bad seed 0: mmrns train ended with status 2" in capsys.readouterr().err
    assert (tmp_path / "runs/tiny/good/seed-0/metrics.json").is_file()


def test_a_run_that_another_process_works_on_is_left_to_it(tiny_runs, tmp_path, in_this_process, capsys):
    grid, _ = tiny_runs
    place = tmp_path / "tiny/short"
    place.mkdir(parents=True)
    with held_elsewhere(place / ".seed-0.lock"):
        assert reproduce(grid, tmp_path, "--only", "tiny/short") == 0
        assert "tiny/short seed 0: another process is at it" in capsys.readouterr().err
        assert not (place / "seed-0").exists()
    assert reproduce(grid, tmp_path, "--only", "tiny/short") == 0
    assert (place / "seed-0/metrics.json").is_file()


def test_runs_are_processes_of_their_own(tiny_runs, tmp_path):
    grid, _ = tiny_runs
    assert reproduce(grid, tmp_path, "--only", "tiny/short", "--set", "steps=3") == 0
    environment = json.loads((tmp_path / "tiny/short/seed-0/environment.json").read_text())
    assert " train --config " in environment["command"]


def test_the_table_says_what_the_runs_found(tiny_runs, tmp_path, capsys):
    grid, runs = tiny_runs
    page, rows = table(grid, runs, tmp_path, capsys)
    for row in ("uniform", "mmrns"):
        found = [json.loads((runs / f"tiny/{row}/seed-{seed}/metrics.json").read_text()) for seed in (0, 1)]
        for name in ("mrr", "hits@1", "hits@3", "hits@10"):
            values = [run["test"]["both"][name] for run in found]
            assert float(rows[row][f"test_{name}"]) == pytest.approx(sum(values) / 2, abs=1e-6)
            # The sample standard deviation of two values is their distance over the root of two.
            assert float(rows[row][f"test_{name}_std"]) == pytest.approx(abs(values[0] - values[1]) / 2**0.5, abs=1e-6)
            cell = f"{100 * statistics.mean(values):.2f} ± {100 * statistics.stdev(values):.2f}"
            assert cell in page
        for part in ("1-1", "1-N", "N-1", "N-N", "seen", "unseen"):
            column = "test_mrr_" + (part if part.isalpha() else part.replace("-", "_to_"))
            values = [run["test"][part]["mrr"] for run in found]
            if values[0] is None:
                assert rows[row][column] == ""
            else:
                assert float(rows[row][column]) == pytest.approx(sum(values) / 2, abs=1e-6)
    assert rows["short"]["test_mrr_std"] == ""
    assert {name: record["seeds"] for name, record in rows.items()} == {"uniform": "2", "mmrns": "2", "short": "1"}
    assert rows["uniform"]["difference"] == ""
    for row in ("mmrns", "short"):
        expected = float(rows[row]["test_mrr"]) - float(rows["uniform"]["test_mrr"])
        assert float(rows[row]["difference"]) == pytest.approx(expected, abs=2e-6)
        assert float(rows[row]["difference_low"]) <= expected <= float(rows[row]["difference_high"])
    assert rows["mmrns"]["sees"] == "structure + image + text" and rows["uniform"]["sees"] == "structure"
    assert 0 < float(rows["mmrns"]["entropy"]) <= 1 and rows["uniform"]["entropy"] == ""
    assert rows["mmrns"]["selected_by"] == "mrr on valid" and rows["short"]["steps"] == "20"
    assert rows["mmrns"]["command"] == "mmrns reproduce tiny --only tiny/mmrns"


def test_valid_is_left_out_where_nothing_was_selected_on_it(tiny_graph, tmp_path, in_this_process, capsys):
    final = GRID.replace("{steps: 20}", "{steps: 20, selection: last}")
    grid, runs = write_grid(tmp_path, tiny_graph, final), tmp_path / "runs"
    assert reproduce(grid, runs, "--only", "tiny/short", "tiny/uniform", "--seeds", "1") == 0
    page, rows = table(grid, runs, tmp_path / "results", capsys)
    line = next(line for line in page.splitlines() if line.startswith("| short ")).split("|")
    heads = next(line for line in page.splitlines() if line.startswith("| row ")).split("|")
    said = {head.strip(): value.strip() for head, value in zip(heads, line, strict=True)}
    assert (said["valid MRR"], said["selected by"]) == ("", "last step")
    assert rows["short"]["valid_mrr"] == "" and rows["short"]["test_mrr"]
    assert rows["uniform"]["valid_mrr"]


def test_degree_quartiles_part_the_queries_by_their_answer_s_degree(tiny_runs, tmp_path, capsys):
    grid, runs = tiny_runs
    page, rows = table(grid, runs, tmp_path, capsys)
    ranks = pd.read_parquet(runs / "tiny/short/seed-0/ranks.parquet")
    parts = re.findall(r"degree (\d+)-(\d+)", page)
    assert len(parts) == 4
    assert [int(most) for _, most in parts[:3]] == [sorted(ranks["degree"])[place] for place in (14, 29, 44)]
    for number, (least, most) in enumerate(parts, start=1):
        part = ranks[ranks["degree"].between(int(least), int(most))]
        assert float(rows["short"][f"test_mrr_degree_{number}"]) == pytest.approx((1 / part["rank"]).mean(), abs=1e-6)


def test_a_row_that_trained_on_more_is_parted_as_the_others_are(tiny_runs, tmp_path, capsys):
    grid, runs = tiny_runs[0], shutil.copytree(tiny_runs[1], tmp_path / "runs")
    _, before = table(grid, runs, tmp_path / "before", capsys)
    file = runs / "tiny/short/seed-0/ranks.parquet"
    ranks = pd.read_parquet(file)
    ranks["degree"] = 3 * ranks["degree"] + 1
    ranks.to_parquet(file, index=False)
    _, after = table(grid, runs, tmp_path / "after", capsys)
    parts = [f"test_mrr_degree_{number}" for number in (1, 2, 3, 4)]
    assert [after["short"][part] for part in parts] == [before["short"][part] for part in parts]


def test_tables_come_out_the_same_from_runs_and_from_what_is_kept_of_them(tiny_runs, tmp_path, capsys):
    grid, runs = tiny_runs
    first, second = tmp_path / "first", tmp_path / "second"
    table(grid, runs, first, capsys)
    made = files_of(first)
    shutil.copytree(first / "tiny", second / "tiny")
    table(grid, tmp_path / "no-runs-here", second, capsys)
    assert files_of(second) == made
    table(grid, runs, first, capsys)
    assert files_of(first) == made


def test_what_is_kept_holds_no_folder_of_this_machine(tiny_runs, tmp_path, capsys):
    grid, runs = tiny_runs
    text = grid.parent.parent.joinpath("tiny/base.yaml").read_text()
    options = yaml.safe_load(text)
    table(grid, runs, tmp_path, capsys)
    kept = load_config({}, tmp_path / "tiny/tiny/mmrns/seed-1/config.yaml")
    run = load_config({}, runs / "tiny/mmrns/seed-1/config.yaml")
    assert kept == run.model_copy(update={"dataset": options["dataset"], "output": "", "features": ""})
    environment = json.loads((tmp_path / "tiny/tiny/mmrns/seed-1/environment.json").read_text())
    assert "host" not in environment and str(runs) not in json.dumps(environment)
    assert environment["command"].endswith("--sampler mmrns --seed 1")


def test_kept_ranks_give_the_metrics_again_and_are_small(tiny_runs, tmp_path, capsys):
    grid, runs = tiny_runs
    table(grid, runs, tmp_path, capsys)
    ranks = pd.read_parquet(tmp_path / "tiny/tiny/mmrns/seed-0/ranks.parquet")
    found = json.loads((runs / "tiny/mmrns/seed-0/metrics.json").read_text())["test"]
    assert (2 / ranks["twice_rank"]).mean() == pytest.approx(found["both"]["mrr"])
    assert (2 / ranks[ranks["head_query"]]["twice_rank"]).mean() == pytest.approx(found["head"]["mrr"])
    assert (~ranks["seen"]).sum() == found["unseen"]["count"]


def test_cells_without_a_run_are_not_run_and_missing_seeds_are_said(tiny_runs, tmp_path, capsys):
    grid, runs = tiny_runs
    some = tmp_path / "runs"
    shutil.copytree(runs / "tiny/uniform/seed-1", some / "tiny/uniform/seed-1")
    page, rows = table(grid, some, tmp_path / "results", capsys)
    lines = {line.split("|")[1].strip(): line for line in page.split("MRR, per cent")[0].splitlines() if "| " in line}
    assert "| not run |" in lines["mmrns"] and "| 1 of 2 |" in lines["uniform"]
    assert rows["mmrns"]["state"] == "not run" and rows["mmrns"]["test_mrr"] == "" and rows["mmrns"]["seeds"] == "0"
    assert "interval" not in page  # nothing to compare yet


def test_before_the_first_run_there_is_a_table_of_what_is_to_do(tiny_runs, tmp_path, capsys):
    page, rows = table(tiny_runs[0], tmp_path / "none", tmp_path, capsys)
    assert page.count("not run") == 3
    assert {record["state"] for record in rows.values()} == {"not run"}


def test_runs_of_other_options_are_neither_kept_nor_counted(tiny_runs, tmp_path, tiny_graph, capsys):
    _, runs = tiny_runs
    table(tiny_runs[0], runs, tmp_path / "results", capsys)
    changed = write_grid(tmp_path, tiny_graph)
    changed.write_text(changed.read_text().replace("steps: 20", "steps: 25"))
    page, rows = table(changed, runs, tmp_path / "results", capsys)
    assert rows["short"]["state"] == "not run"
    assert "Not counted: tiny/short seed 0 was run with steps: 20, the cell says 25." in page
    page, rows = table(changed, runs, tmp_path / "fresh", capsys)
    assert rows["short"]["state"] == "not run" and not (tmp_path / "fresh/tiny/tiny/short").exists()


@pytest.mark.parametrize(
    ("name", "spoil", "says"),
    [
        ("metrics.json", lambda b: b[: len(b) // 2], r"metrics\.json: not readable as JSON .*; remove .*seed-0"),
        ("metrics.json", lambda b: b'{"test": {}}', r"metrics\.json: is not a whole metrics\.json .*; remove"),
        ("metrics.json", lambda b: None, r"metrics\.json: no such file; remove"),
        ("config.yaml", lambda b: b": [", r"config\.yaml: not YAML"),
        ("ranks.parquet", lambda b: b[:100], r"ranks\.parquet: cannot be read .*; remove its folder"),
        ("ranks.parquet", lambda b: None, r"ranks\.parquet: cannot be read"),
        ("history.jsonl", lambda b: b"nothing\n" + b, r"history\.jsonl:1: not JSON"),
        ("environment.json", lambda b: b"{", r"environment\.json: not readable as JSON"),
    ],
)
def test_a_damaged_kept_result_is_named(tiny_runs, tmp_path, capsys, name, spoil, says):
    grid, runs = tiny_runs
    table(grid, runs, tmp_path, capsys)
    before = (tmp_path / "tiny.md").read_text()
    file = tmp_path / "tiny/tiny/mmrns/seed-0" / name
    content = spoil(file.read_bytes())
    file.write_bytes(content) if content is not None else file.unlink()
    message = refuse(capsys, "reproduce", grid, "--runs", tmp_path, "--results", tmp_path, "--table")
    assert re.search(says, message) and str(file.parent.name) in message, message
    assert (tmp_path / "tiny.md").read_text() == before


def test_only_folders_named_by_a_seed_alone_are_kept_results(tiny_runs, tmp_path, capsys):
    grid, runs = tiny_runs
    page, rows = table(grid, runs, tmp_path, capsys)
    row = tmp_path / "tiny/tiny/mmrns"
    shutil.copytree(row / "seed-0", row / "seed-0-old")
    (row / "seed-7").write_text("a note")
    assert table(grid, runs, tmp_path, capsys) == (page, rows)


def test_a_damaged_run_is_named(tiny_runs, tmp_path, capsys):
    grid, runs = tiny_runs
    shutil.copytree(runs / "tiny/short", tmp_path / "tiny/short")
    (tmp_path / "tiny/short/seed-0/metrics.json").write_text('{"test": {"both": {"mrr": "high"}}}')
    message = refuse(capsys, "reproduce", grid, "--runs", tmp_path, "--results", tmp_path / "results", "--table")
    assert "metrics.json: is not a whole metrics.json" in message and "delete it and resume" in message
    assert not (tmp_path / "results").exists()


def test_runs_on_other_queries_are_not_compared(tiny_runs, tmp_path, capsys):
    grid, runs = tiny_runs
    shutil.copytree(runs, tmp_path / "runs")
    file = tmp_path / "runs/tiny/short/seed-0/ranks.parquet"
    ranks = pd.read_parquet(file)
    ranks.loc[0, "tail"] = "e01" if ranks.loc[0, "tail"] == "e00" else "e00"
    ranks.to_parquet(file, index=False)
    message = refuse(capsys, "reproduce", grid, "--runs", tmp_path / "runs", "--results", tmp_path / "r", "--table")
    assert "the runs to compare rank different test queries" in message and "short" in message


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "tiny/nothing"], "--only tiny/nothing: matches no cell"),
        (["--seeds", "0"], "--seeds 0: must be at least 1"),
        (["--set", "steps"], "--set steps: needs OPTION=VALUE"),
        (["--set", "seed=3"], "--set seed=3: needs OPTION=VALUE"),
        (["--set", "steps=many"], "--steps: "),
        (["--set", "steps=5", "--table"], "--set steps: would change what the rows of --table mean"),
    ],
)
def test_bad_arguments(tiny_runs, tmp_path, capsys, arguments, says):
    assert says in refuse(capsys, "reproduce", tiny_runs[0], "--runs", tmp_path, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_grid_is_answered_with_the_known_ones(capsys):
    assert "nothing: no such grid; give one of ablation, few-negatives, main" in refuse(capsys, "reproduce", "nothing")
