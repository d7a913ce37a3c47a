"""`mmrns benchmark scale` on two graphs of a few hundred entities."""

import json
from pathlib import Path

import pytest

from mmrns.benchmark.scale import ScaleResult, step_ratios
from mmrns.cli import main
from mmrns.report.scale import scale_entry


def result(steps):
    return ScaleResult(10, 20, 1.0, {}, steps, 5, 1.0, {}, {})


def test_ratios_are_those_of_rounds():
    first, second = result([1.0, 1.0, 2.0, 2.0]), result([2.0, 2.0, 6.0, 6.0])
    assert step_ratios([first, second], 2) == [(1.0, 1.0, 1.0), (2.5, 2.0, 3.0)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--datasets", "nosuch"], "nosuch: no such dataset"),
        (["--datasets", "pictokg", "--sampler", "nosuch"], "--sampler nosuch: unknown"),
        (["--entities", "100", "2000"], "--entities 100: give 500 or more"),
    ],
)
def test_what_cannot_be_measured_is_one_line(options, said, capfd):
    assert main(["benchmark", "scale", *options]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("loading ")]
    assert len(lines) == 1 and lines[0].startswith("mmrns benchmark: ") and said in lines[0]


def keys(value):
    """Of all objects within a JSON value."""
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return (set(value) if isinstance(value, dict) else set()).union(*map(keys, parts))


def test_what_is_recorded_names_no_host():
    assert "host" not in keys(scale_entry([], "mmrns benchmark scale"))
    results = sorted((Path(__file__).parents[2] / "results").rglob("*.json"))
    assert results and not [path for path in results if "host" in keys(json.loads(path.read_text(encoding="utf-8")))]


@pytest.mark.slow
def test_two_samplers_on_two_graphs(tmp_path, capsys):
    record = tmp_path / "scale.md"
    options = (
        "--rounds 2 --steps 2 --queries 3 --dim 4 --batch-size 16 --num-negatives 4 --sampler uniform mmrns --json "
        "--negatives-shared 1 8"
    )
    sizes = ["--entities", "500", "800", "--folder", str(tmp_path)]
    main(["benchmark", "scale", *sizes, *options.split(), "--record", str(record)])
    entry = json.loads(capsys.readouterr().out)
    assert entry == json.loads(record.with_suffix(".json").read_text())
    assert [run["settings"]["sampler"] for run in entry["runs"]] == ["uniform", "uniform", "mmrns"]
    for run in entry["runs"]:
        small, large = run["graphs"]
        assert (small["entities"], large["entities"]) == (500, 800)
        assert small["step_ratio"]["median"] == 1.0
        assert 0 < small["rows_updated"] <= 500
        assert small["steps"] == 4 and small["metrics"]["count"] == 6
    uniform, sharing = (run["graphs"][0]["rows_updated"] for run in entry["runs"][:2])
    assert uniform <= 16 * (4 + 2)  # every triple has two ends and four negatives
    assert sharing <= 16 * 2 + 2 * 4  # of 16 triples, 8 share
    assert "## uniform, 8 queries share their negatives" in record.read_text() and "## mmrns" in record.read_text()
