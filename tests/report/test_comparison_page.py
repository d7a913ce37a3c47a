"""Several runs side by side: settings, paired differences, and their page."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from mmrns.cli import main
from mmrns.errors import UserError
from mmrns.experiments.bootstrap import difference_of
from mmrns.report.comparison import compare
from mmrns.report.comparison_page import _training
from tests.browser import overflow
from tests.report.test_run_page import check_reading
from tests.tiny import train_command


@pytest.fixture(scope="module")
def compared(other_seeds, finished_run, tmp_path_factory):
    """The page and the data of two seeds of one setting and a run of another."""
    page = tmp_path_factory.mktemp("compared") / "report.html"
    folders = [*other_seeds, finished_run]
    assert main(["report", *map(str, folders), "--output", str(page)]) == 0
    return page, compare(folders)


@pytest.fixture(scope="module")
def mixed(other_seeds, tiny_graph, tmp_path_factory):
    """Runs that part the test queries in other ways, or select in others: the first is of the published split."""
    place = tmp_path_factory.mktemp("mixed")
    bare = shutil.copytree(tiny_graph, place / "tiny", ignore=shutil.ignore_patterns("features.*"))
    half = {"validation": "held-out", "held_out": 0.5}  # three quarters of degrees instead of four
    for name, graph, options in (
        ("half", tiny_graph, half), ("half-transe-9", tiny_graph, half | {"gamma": 9}),
        ("last", tiny_graph, {"selection": "last"}), ("bare", bare, {}),
    ):  # fmt: skip
        assert main(train_command(graph, place / name, **options)) == 0
    return [other_seeds[0], *(place / name for name in ("half", "half-transe-9", "last", "bare"))]


def reciprocal(folder):
    return 1 / pd.read_parquet(folder / "ranks.parquet")["rank"].to_numpy()


def test_seeds_are_one_setting(compared, other_seeds, finished_run):
    _, comparison = compared
    assert [setting.name for setting in comparison.settings] == ["uniform", "finished"]
    uniform, mmrns = comparison.settings
    assert uniform.seeds == [0, 1] and mmrns.seeds == [0]
    values = [json.loads((folder / "metrics.json").read_text())["test"]["both"]["mrr"] for folder in other_seeds]
    assert uniform.test["mrr"].mean == pytest.approx(np.mean(values))
    assert uniform.test["mrr"].std == pytest.approx(np.std(values, ddof=1))
    assert mmrns.test["mrr"].std is None
    assert comparison.changed == {"sampler": ["uniform", "mmrns"]}


def test_seeds_of_one_setting_alone_have_a_mean_and_nothing_to_compare(other_seeds, tmp_path):
    page = tmp_path / "report.html"
    assert main(["report", *map(str, other_seeds), "--output", str(page)]) == 0
    values = [json.loads((folder / "metrics.json").read_text())["test"]["both"]["mrr"] for folder in other_seeds]
    mean, std = np.mean(values), np.std(values, ddof=1)
    text = re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))
    assert f"{mean:.4f} ± {std:.4f}" in text
    assert "There is nothing to compare" in text
    assert not re.search("does better|Difference to|Options that differ", text)


def test_differences_are_paired_by_triple(compared, other_seeds, finished_run):
    _, comparison = compared
    gain = reciprocal(finished_run) - np.mean([reciprocal(folder) for folder in other_seeds], axis=0)
    found = comparison.compared[0].differences["mrr"]
    expected = difference_of(gain.reshape(2, -1).mean(axis=0))
    assert found.mean == pytest.approx(gain.mean()) and found.mean == pytest.approx(expected.mean)
    width = expected.high - expected.low  # two bootstraps with draws of their own
    assert found.low == pytest.approx(expected.low, abs=0.05 * width)
    assert found.high == pytest.approx(expected.high, abs=0.05 * width)
    ranks = comparison.gained[0].ranks
    assert 1 / ranks[1] > 1 / ranks[0]
    most = np.argmax(gain)
    row = pd.read_parquet(finished_run / "ranks.parquet").iloc[most]
    assert (comparison.gained[0].head, comparison.gained[0].asks) == (row["head_label"], row["direction"])


@pytest.mark.parametrize("width", [390, 1280])
def test_its_page(visit, compared, width):
    page_file, comparison = compared
    with visit(page_file.as_uri(), width=width, dark=width == 390) as page:
        check_reading(page)
        for details in page.locator("details").all():
            details.evaluate("element => element.open = true")
        assert overflow(page) == 0
        shown = page.locator("#results ~ table").first.locator("tbody tr").all()
        for row, setting in zip(shown, comparison.settings, strict=True):
            value = row.locator("data").first
            assert float(value.get_attribute("value")) == setting.test["mrr"].mean
        assert "uniform" in page.inner_text("section[aria-labelledby=making]")


def test_a_run_against_itself_differs_by_nothing(finished_run, tmp_path):
    copy = shutil.copytree(finished_run, tmp_path / "copy")
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace("gamma: 12.0", "gamma: 11.0"))
    comparison = compare([finished_run, copy])
    assert [setting.name for setting in comparison.settings] == ["finished", "copy"]
    assert all((d.mean, d.low, d.high) == (0, 0, 0) for d in comparison.compared[0].differences.values())
    assert comparison.gained == [] and comparison.lost == []
    assert comparison.changed == {"gamma": [12.0, 11.0]}


def test_folders_named_by_seed_alone(finished_run, tmp_path):
    folders = [tmp_path / "first/seed-0", tmp_path / "second/seed-0"]
    for folder, gamma in zip(folders, ("12.0", "11.0"), strict=True):
        shutil.copytree(finished_run, folder)
        text = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(text.replace("gamma: 12.0", f"gamma: {gamma}"))
    assert [setting.name for setting in compare(folders).settings] == ["first", "second"]


def test_a_seed_of_one_setting_counts_once(finished_run, tmp_path):
    copy = shutil.copytree(finished_run, tmp_path / "copy")
    with pytest.raises(UserError, match=f"{copy}: has the setting and the seed of {finished_run}; give one of them"):
        compare([finished_run, copy])


def test_runs_with_other_features_are_other_settings(finished_run, tmp_path):
    copy = shutil.copytree(finished_run, tmp_path / "copy")
    described = json.loads((copy / "vocabulary.json").read_text())
    digest = described["features_sha256"]
    (copy / "vocabulary.json").write_text(json.dumps(described | {"features_sha256": "0" * 64}))
    assert compare([finished_run, copy]).changed == {"features": [digest[:12], "0" * 12]}


def test_the_first_run_parts_the_queries_of_all(mixed, tmp_path):
    page = tmp_path / "report.html"
    assert main(["report", *map(str, mixed), "--output", str(page)]) == 0
    assert "All settings are parted as uniform-0 is" in page.read_text(encoding="utf-8")
    comparison = compare(mixed)
    first, *others = ([(part.group, part.name, part.count) for part in s.parts] for s in comparison.settings)
    assert others == [first] * 4
    degree = pd.read_parquet(mixed[0] / "ranks.parquet")["degree"].to_numpy()
    for setting, folder in zip(comparison.settings, mixed, strict=True):
        (part, *_) = [part for part in setting.parts if part.group == "The answer's facts in train"]
        most = int(part.name.split(" to ")[1])
        assert part.metrics["mrr"].value == pytest.approx(reciprocal(folder)[degree <= most].mean())
    queried = {part.name: part.count for part in compare([mixed[1], mixed[0]]).settings[1].parts}
    assert queried != {name: count for _, name, count in first}  # the order of the runs decides


def test_valid_is_left_out_where_nothing_was_selected_on_it(mixed, tmp_path):
    page = tmp_path / "report.html"
    assert main(["report", *map(str, mixed), "--output", str(page)]) == 0
    text = page.read_text(encoding="utf-8")

    def column(name):
        return [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(f'data-label="{name}">(.*?)</td>', text)]

    kept = [json.loads((folder / "metrics.json").read_text())["valid"]["both"]["mrr"] for folder in mixed]
    assert column("valid MRR") == [f"{mrr:.4f}" if place != 3 else "" for place, mrr in enumerate(kept)]
    assert column("selected by") == [
        "mrr on valid", "mrr on held-out", "mrr on held-out", "last step", "mrr on valid",
    ]  # fmt: skip
    assert compare(mixed).settings[3].valid == {}


def test_curves_of_valid_share_a_chart_where_they_are_of_the_same_triples(mixed):
    charts = _training(compare(mixed))
    shown = {chart.title: (chart.header[1:], chart.note) for chart in charts if chart and chart.title.startswith("MRR")}
    assert shown == {
        "MRR on valid": (["uniform-0", "bare"], ""),
        "MRR on held-out": (
            ["half", "half-transe-9"],
            "On a slice held out of train: --held-out 0.5, --held-out-seed 0.",
        ),
    }


def test_steps_and_seconds_are_of_all_seeds(other_seeds, tmp_path):
    folders = [shutil.copytree(folder, tmp_path / folder.name) for folder in other_seeds]
    for folder, steps, seconds in zip(folders, (20, 1030), (1.0, 4.0), strict=True):
        metrics = json.loads((folder / "metrics.json").read_text())
        (folder / "metrics.json").write_text(json.dumps(metrics | {"steps": steps, "train_seconds": seconds}))
    page = tmp_path / "report.html"
    assert main(["report", *map(str, folders), "--output", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert 'data-label="steps">20, 1,030</td>' in text
    assert "2 ± 2" in re.sub(r"<[^>]+>", "", text)
    assert compare(folders).settings[0].seconds.mean == 2.5
