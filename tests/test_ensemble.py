"""Runs, and likeness in features, that are ranked as one: scores, command, and rows of a grid."""

import json
import math
import os
import shutil
import statistics

import pandas as pd
import pytest
import torch

from mmrns import load_dataset
from mmrns.cli import main
from mmrns.config_io import dump_config
from mmrns.experiments.grid import load_grid
from mmrns.features import FeatureStore
from mmrns.files import claimed
from mmrns.graph.answers import HEAD, TAIL
from mmrns.inference import load, load_answerer
from mmrns.scoring import Ensemble, FeatureSimilarity
from tests.experiments.tiny_grid import reproduce, write_grid
from tests.tiny import ENTITIES, tiny_features, train_command, write_tiny_graph

GRID = """
title: A tiny table
groups: {tiny: {title: The tiny graph}}
rows:
  first: {config: tiny/base.yaml, set: {sampler: mmrns}}
  second: {config: tiny/base.yaml, set: {model: distmult}}
  both: {members: [first, second], against: first}
  alike: {members: [second], feature_similarity: {text: 0.5}, against: second}
  weighed: {members: [first, second], weights: [1, 0.5]}
"""


@pytest.fixture(scope="module")
def runs(finished_run, tiny_graph, tmp_path_factory):
    other = tmp_path_factory.mktemp("runs") / "other"
    assert main(train_command(tiny_graph, other, model="distmult", seed=1)) == 0
    return finished_run, other


def ensemble(output, *arguments):
    return main(["ensemble", *map(str, arguments), "--output", str(output)])


def refuse(capsys, output, *arguments):
    capsys.readouterr()
    assert ensemble(output, *arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_one_process_at_a_time_ranks_into_a_folder(runs, tmp_path, capsys):
    output = tmp_path / "both"
    with claimed(output / "config.yaml"):
        assert "both: another process is at work on this run" in refuse(capsys, output, *runs)
    assert ensemble(output, *runs) == 0


@pytest.mark.parametrize("direction", [HEAD, TAIL])
def test_scores_are_weighed_standardised_ones(runs, direction):
    members = [load(run).model for run in runs]
    anchor, relation = torch.tensor([3, 7]), torch.tensor([0, 2])
    with torch.no_grad():
        found = Ensemble(members, [1.0, 0.25]).score_all(anchor, relation, direction)
        scores = [member.score_all(anchor, relation, direction).tolist() for member in members]
    for query in range(2):
        expected = [0.0] * ENTITIES
        for weight, of_member in zip((1.0, 0.25), scores, strict=True):
            mean, deviation = statistics.fmean(of_member[query]), statistics.pstdev(of_member[query])
            expected = [e + weight * (s - mean) / deviation for e, s in zip(expected, of_member[query], strict=True)]
        torch.testing.assert_close(found[query], torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_a_member_without_an_opinion_leaves_the_ranks_to_the_others(runs):
    one, other = (load(run).model for run in runs)
    with torch.no_grad():
        other.relations.weight.zero_()  # DistMult: every score is 0
        alone = one.score_all(torch.tensor([3]), torch.tensor([0]), TAIL)
        found = Ensemble([other, one], [1.0, 1.0]).score_all(torch.tensor([3]), torch.tensor([0]), TAIL)
    assert torch.isfinite(found).all()
    assert found.argsort().equal(alone.argsort())


def test_likeness_is_the_cosine_of_two_entities_features_whatever_the_relation(runs):
    vectors = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).tolist()
    vectors[4] = [0.0, 0.0, 0.0]  # no features
    found = FeatureSimilarity(torch.tensor(vectors)).score_all(torch.tensor([1, 4]), torch.tensor([0, 2]), TAIL)
    for row, anchor in enumerate((1, 4)):
        for other in range(6):
            lengths = math.hypot(*vectors[anchor]) * math.hypot(*vectors[other])
            product = sum(a * b for a, b in zip(vectors[anchor], vectors[other], strict=True))
            expected = product / lengths if lengths and other != anchor else 0.0
            assert found[row, other].item() == pytest.approx(expected, abs=1e-6)


def test_likeness_too_is_weighed_standardised_and_silent_where_there_are_no_features(runs):
    one = load(runs[0]).model
    vectors = torch.randn(ENTITIES, 4, generator=torch.Generator().manual_seed(0))
    vectors[7] = 0
    anchor, relation = torch.tensor([3, 7]), torch.tensor([0, 2])
    with torch.no_grad():
        similarity = FeatureSimilarity(vectors)
        found = Ensemble([one, similarity], [1.0, 0.3]).score_all(anchor, relation, TAIL)
        scores, cosines = one.score_all(anchor, relation, TAIL), similarity.score_all(anchor, relation, TAIL)
    expected = (scores - scores.mean(1, keepdim=True)) / scores.std(1, correction=0, keepdim=True)
    expected[0] += 0.3 * (cosines[0] - cosines[0].mean()) / cosines[0].std(correction=0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_run_and_likeness_are_ranked_as_one(runs, tmp_path):
    assert ensemble(tmp_path / "alike", runs[0], "--feature-similarity", "text=0.5", "image=0.25") == 0
    metrics = json.loads((tmp_path / "alike/metrics.json").read_text())
    assert metrics["feature_similarity"] == {"text": 0.5, "image": 0.25}
    member = {"run": os.path.relpath(runs[0], tmp_path / "alike"), "weight": 1.0}
    assert metrics["members"] == [member | {"weights_sha256": load(runs[0]).weights_sha256()}]
    assert metrics["triples_sha256"] == load_dataset(load(runs[0]).config.dataset).triples_sha256
    ranks, alone = (pd.read_parquet(folder / "ranks.parquet")["rank"] for folder in (tmp_path / "alike", runs[0]))
    assert metrics["test"]["both"]["mrr"] == pytest.approx((1 / ranks).mean(), abs=1e-12)
    assert (ranks != alone).any()


def test_a_run_with_itself_ranks_as_alone(runs, tmp_path):
    assert ensemble(tmp_path / "twice", runs[0], runs[0]) == 0
    for name in ("ranks.parquet", "ranks-valid.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "twice" / name), pd.read_parquet(runs[0] / name))


def test_the_command_writes_metrics_of_its_ranks_and_says_of_what(runs, tmp_path, capsys):
    capsys.readouterr()
    assert ensemble(tmp_path / "both", *runs, "--weights", 2, 1, "--json") == 0
    metrics = json.loads((tmp_path / "both/metrics.json").read_text())
    assert json.loads(capsys.readouterr().out) == {split: metrics[split] for split in ("valid", "test")}
    assert metrics["members"] == [
        {"run": os.path.relpath(run, tmp_path / "both"), "weight": weight, "weights_sha256": load(run).weights_sha256()}
        for run, weight in zip(runs, (2.0, 1.0), strict=True)
    ]
    assert metrics["steps"] == 60
    ranks = pd.read_parquet(tmp_path / "both/ranks.parquet")
    assert metrics["test"]["both"]["mrr"] == pytest.approx((1 / ranks["rank"]).mean(), abs=1e-12)
    alone = [json.loads((run / "metrics.json").read_text())["test"]["both"]["mrr"] for run in runs]
    assert metrics["test"]["both"]["mrr"] not in alone


def test_what_is_wrong_is_told_before_anything_is_written(runs, tmp_path, capsys):
    output = tmp_path / "new"
    assert "give at least two runs" in refuse(capsys, output, runs[0])
    for weights in (["1"], ["1", "0"], ["1", "-2"], ["1", "nan"], ["1", "inf"]):
        assert "--weights" in refuse(capsys, output, *runs, "--weights", *weights)
    for alike in ("text", "text=", "text=much"):
        with pytest.raises(SystemExit):
            ensemble(output, runs[0], "--feature-similarity", alike)
        assert f"{alike}: write MODALITY=NUMBER" in capsys.readouterr().err
    for alike in ("text=0.0", "text=-1.0", "text=nan", "text=inf"):
        assert f"{alike}: give a positive number" in refuse(capsys, output, runs[0], "--feature-similarity", alike)
    told = refuse(capsys, output, runs[0], "--feature-similarity", "sound=1")
    assert "--feature-similarity sound: no such features; there are image, text" in told
    assert "not a run folder" in refuse(capsys, output, runs[0], tmp_path)
    graph = write_tiny_graph(tmp_path / "graph")
    with (graph / "train.txt").open("a") as file:
        file.write("e00\tr9\te01\n")
    assert main(train_command(graph, tmp_path / "elsewhere", steps=2)) == 0
    assert "has other relations than" in refuse(capsys, output, runs[0], tmp_path / "elsewhere")
    held_out = train_command(load(runs[0]).config.dataset, tmp_path / "held-out", steps=2, validation="held-out")
    assert main(held_out) == 0
    assert "has validation held-out" in refuse(capsys, output, runs[0], tmp_path / "held-out")
    (tmp_path / "held-out/metrics.json").unlink()
    assert "not finished" in refuse(capsys, output, runs[0], tmp_path / "held-out")
    assert not output.exists()
    told = refuse(capsys, runs[0], *runs)
    assert "already holds something; choose another folder" in told and "--resume" not in told


def test_a_metrics_json_that_holds_no_object_is_named(runs, tmp_path, capsys):
    spoilt = shutil.copytree(runs[1], tmp_path / "spoilt")
    (spoilt / "metrics.json").write_text("[]")
    told = refuse(capsys, tmp_path / "new", runs[0], spoilt)
    assert f"{spoilt / 'metrics.json'}: holds no object" in told and not (tmp_path / "new").exists()
    (spoilt / "model.safetensors").unlink()
    assert main(["predict", str(spoilt), "--head", "e00", "--relation", "r0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{spoilt / 'metrics.json'}: holds no object" in line


@pytest.fixture
def copied(runs, tmp_path):
    """An ensemble, likeness beside, of runs that a test may take away."""
    members = [shutil.copytree(run, tmp_path / name) for run, name in zip(runs, ("one", "other"), strict=True)]
    assert ensemble(tmp_path / "both", *members, "--weights", 2, 1, "--feature-similarity", "text=0.5") == 0
    return tmp_path / "both", members


def test_an_ensembles_folder_answers_as_it_was_ranked(copied, capsys):
    folder, _ = copied
    ranks = pd.read_parquet(folder / "ranks.parquet").query("direction == 'tail'").iloc[:5]
    assert len(ranks) == 5
    for row in ranks.itertuples():
        capsys.readouterr()
        asked = ["--head", row.head, "--relation", row.relation, "-k", str(ENTITIES), "--json"]
        assert main(["predict", str(folder), *asked]) == 0
        answers = json.loads(capsys.readouterr().out)
        true = next(answer for answer in answers if answer["id"] == row.tail)
        assert 1 + sum(a["score"] > true["score"] and a["known"] is None for a in answers) == row.rank


def test_an_ensemble_answers_from_anywhere_and_moves_with_its_members(copied, tmp_path, monkeypatch, capsys):
    asked = ["--head", "e00", "--relation", "r0", "--json"]
    assert main(["predict", str(copied[0]), *asked]) == 0
    before = capsys.readouterr().out
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("both", "one", "other"):
        (tmp_path / name).rename(moved / name)
    monkeypatch.chdir(moved / "one")
    assert main(["predict", "../both", *asked]) == 0
    assert capsys.readouterr().out == before


def test_an_ensemble_proposes_new_facts_with_probabilities_of_its_own(copied):
    folder, _ = copied
    assert main(["predict", str(folder), "--all", "--top", "20", "--json"]) == 0
    assert len(pd.read_parquet(folder / "predictions.parquet")) == 20
    made_from = json.loads((folder / "calibration.json").read_text())["made_from"]
    assert made_from["weights_sha256"] == load_answerer(folder).weights_sha256()
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["members"][0]["weight"] = 3.0
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    assert made_from["weights_sha256"] != load_answerer(folder).weights_sha256()


def test_an_ensembles_likeness_is_that_of_the_features_it_was_ranked_with(runs, tiny_graph, tmp_path, capsys):
    features = tmp_path / "features"
    FeatureStore.write(load_dataset(tiny_graph), tiny_features(), features)
    run = shutil.copytree(runs[1], tmp_path / "run")
    config = load(run).config.model_copy(update={"features": str(features)})
    (run / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert ensemble(tmp_path / "alike", run, "--feature-similarity", "text=0.5") == 0
    FeatureStore.write(load_dataset(tiny_graph), tiny_features(seed=1), features)
    asked = ["predict", str(tmp_path / "alike"), "--head", "e00", "--relation", "r0"]
    capsys.readouterr()
    assert main(asked) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{features} holds other features than it was ranked with; put those there, or rank it anew" in line
    metrics = json.loads((tmp_path / "alike/metrics.json").read_text())
    del metrics["features_sha256"]  # as it was before ensembles said so
    (tmp_path / "alike/metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    assert main(asked) == 0
    assert ensemble(tmp_path / "both", *runs) == 0
    assert "features_sha256" not in json.loads((tmp_path / "both/metrics.json").read_text())


def test_an_ensemble_in_a_folder_behind_a_link_finds_its_members(runs, tmp_path, capsys):
    (tmp_path / "far/away").mkdir(parents=True)
    (tmp_path / "near").symlink_to(tmp_path / "far/away")
    members = [shutil.copytree(run, tmp_path / name) for run, name in zip(runs, ("one", "other"), strict=True)]
    assert ensemble(tmp_path / "near/both", *members) == 0
    for folder in ("near/both", "far/away/both"):
        assert [member.run.path for member in load_answerer(tmp_path / folder).members] == members


def test_what_an_ensemble_cannot_do_is_told(copied, capsys):
    folder, members = copied
    capsys.readouterr()
    assert main(["evaluate", str(folder)]) == 2
    assert f"give a member, {members[0]}" in capsys.readouterr().err
    shutil.rmtree(members[1])
    assert main(["predict", str(folder), "--head", "e00", "--relation", "r0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(folder) in line
    assert f"{members[1]}: not a run folder" in line


def test_a_grid_ranks_its_ensembles_when_their_members_are_done(tiny_graph, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mmrns.experiments.cells.launch_mmrns", main)
    grid, root = write_grid(tmp_path, tiny_graph, GRID), tmp_path / "runs"
    assert reproduce(grid, root, "--only", "tiny/both") == 2
    assert "tiny/both seed 0: needs tiny/first, tiny/second" in capsys.readouterr().err
    assert reproduce(grid, root, "--seeds", 2) == 0
    assert reproduce(grid, root, "--table", "--results", tmp_path / "results", "--seeds", 2) == 0
    ranked = [json.loads((root / f"tiny/both/seed-{seed}/metrics.json").read_text()) for seed in (0, 1)]
    assert [member["run"] for member in ranked[1]["members"]] == ["../../first/seed-1", "../../second/seed-1"]
    kept = json.loads((tmp_path / "results/tiny/tiny/both/seed-1/environment.json").read_text())
    metrics = json.loads((tmp_path / "results/tiny/tiny/both/seed-1/metrics.json").read_text())
    assert [member["run"] for member in metrics["members"]] == ["tiny/first/seed-1", "tiny/second/seed-1"]
    assert kept["command"] == "mmrns ensemble tiny/first/seed-1 tiny/second/seed-1"
    alike = json.loads((tmp_path / "results/tiny/tiny/alike/seed-1/environment.json").read_text())
    assert alike["command"] == "mmrns ensemble tiny/second/seed-1 --feature-similarity text=0.5"
    weighed = json.loads((tmp_path / "results/tiny/tiny/weighed/seed-0/environment.json").read_text())
    assert weighed["command"] == "mmrns ensemble tiny/first/seed-0 tiny/second/seed-0 --weights 1.0 0.5"
    row = next(line for line in (tmp_path / "results/tiny.md").read_text().splitlines() if line.startswith("| both"))
    mean = statistics.fmean(100 * of_seed["test"]["both"]["mrr"] for of_seed in ranked)
    assert f" {mean:.2f} ± " in row and " structure + image + text " in row

    for was, now, told in (
        ("[first, second]", "[second, first]", 'members ["first", "second"], the cell says ["second", "first"]'),
        ("text: 0.5", "text: 0.25", 'feature_similarity {"text": 0.5}, the cell says {"text": 0.25}'),
        ("[1, 0.5]", "[1, 2]", "weights [1.0, 0.5], the cell says [1.0, 2.0]"),
    ):
        grid.write_text(GRID.replace(was, now), encoding="utf-8")
        assert reproduce(grid, root) == 2
        assert told in capsys.readouterr().err
        assert reproduce(grid, root, "--redo") == 0
        grid.write_text(GRID, encoding="utf-8")
        assert reproduce(grid, root, "--redo") == 0


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("both: {members: [first, third]}", "members: third: name trained rows"),
        ("both: {members: [first]}", "takes two rows or more"),
        ("both: {members: [first, second], weights: [1]}", "weights: give 2 numbers, one a member"),
        ("both: {members: [first, second], set: {dim: 4}}", "no config:, preset: or set:"),
        ("both: {feature_similarity: {text: 1.0}}", "takes two rows or more, or one and feature_similarity:"),
        ("both: {members: [first], feature_similarity: {text: much}}", "feature_similarity: text: input should be a"),
    ],
)
def test_a_grid_names_the_row_whose_members_are_wrong(tiny_graph, tmp_path, row, told):
    start = GRID.index("  both:")
    grid = write_grid(tmp_path, tiny_graph, GRID[:start] + "  " + row + "\n")
    with pytest.raises(Exception, match=told):
        load_grid(grid)
