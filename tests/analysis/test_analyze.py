"""The whole of an analysis on small runs: what it measures, files, text, JSON, several runs, and bad input."""

import json
import math
import re
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.metrics import silhouette_score

from mmrns.analysis import Options, analyze
from mmrns.analysis.analyzer import _MOST_RETRIEVED
from mmrns.analysis.guide import GUIDES, measure
from mmrns.analysis.hardness import _reading, hardness, in_deviations
from mmrns.analysis.maps import maps
from mmrns.analysis.spaces import spaces
from mmrns.cli import main
from mmrns.errors import UserError
from mmrns.experiments.bootstrap import Difference
from mmrns.explanation import Explainer
from mmrns.explanation.sampling import distribution
from mmrns.graph.answers import HEAD, TAIL
from mmrns.report.analysis_text import as_text
from mmrns.report.projector import write_projector
from mmrns.report.sampler_evidence import _hardness_verdict
from mmrns.training.history import read_history
from tests.tiny import ENTITIES, train_command, write_tiny_features

QUICK = ["--sample", "60", "--pairs", "50"]
NO_MAPS = [*QUICK, "--map-points", "0"]


@pytest.fixture(scope="module")
def explainer(finished_run):
    return Explainer(finished_run)


@pytest.fixture(scope="module")
def analysis(explainer):
    return analyze(explainer, Options(pairs=50, map_points=0))


@pytest.fixture(scope="module")
def bare_run(tiny_graph, tmp_path_factory):
    """Folder of a run with uniform negatives on a graph without features."""
    folder = tmp_path_factory.mktemp("bare")
    graph = shutil.copytree(tiny_graph, folder / "tiny", ignore=shutil.ignore_patterns("features.*"))
    assert main(train_command(graph, folder / "uniform", "uniform", steps=2)) == 0
    return folder / "uniform"


def test_every_space_of_the_run_is_judged_beside_random_vectors(analysis):
    names = ["entities", "relations", "image", "text", "kca-image", "kca-text", "kca-structure"]
    assert [space.name for space in analysis.spaces] == names
    for space in analysis.spaces:
        assert len({m.name for m in space.measures}) == len(space.measures)
        for m in space.measures:
            assert m.value is not None and math.isfinite(m.value)
            assert m.random is not None or m.name == "attention_shift"
            assert m.count > 0 and m.reading and bool(m.remedy) == m.concern
        assert sum(space.spectrum) == pytest.approx(1, abs=1e-3) if len(space.spectrum) < 256 else True
    assert [(r.source, r.target) for r in analysis.retrieval] == [
        ("image", "text"), ("text", "image"), ("kca-image", "kca-text"), ("kca-text", "kca-image"),
    ]  # fmt: skip
    measured = {m.name for space in analysis.spaces for m in space.measures}
    measured |= {m.name for r in analysis.retrieval for m in r.measures}
    # The tiny graph has neither types nor a hierarchy.
    unmeasured = {n for n in GUIDES if n.startswith(("cluster_", "type_", "probe_"))} | {"relatedness_taxonomy"}
    assert set(GUIDES) - measured == unmeasured
    assert _MOST_RETRIEVED < 2000


def test_features_are_means_over_the_tokens_that_an_entity_has(explainer):
    by_name = {space.name: space for space in spaces(explainer)}
    for name in ("image", "text"):
        space = by_name[name]
        values, mask = explainer.features.gather(name, torch.arange(ENTITIES))
        assert space.rows.tolist() == mask.any(1).nonzero()[:, 0].tolist()
        for row, vector in zip(space.rows, space.gather(space.rows), strict=True):
            np.testing.assert_allclose(vector, values[row][mask[row]].double().mean(0), rtol=1e-5, atol=1e-6)


def test_sampler_vectors_are_those_that_it_compares(explainer):
    sampler, model = explainer.sampler, explainer.trained.model
    frequency = np.bincount(explainer.dataset.train[:, 1])
    for space in spaces(explainer):
        if space.under is None:
            continue
        rows = space.rows[:7]
        total = 0
        for relation, count in enumerate(frequency):
            vectors = space.paired(rows, np.full(len(rows), relation))
            tokens = {n: explainer.features.gather(n, torch.from_numpy(rows)) for n in explainer.features.modalities}
            vector = model.relations(torch.tensor([relation]))
            with torch.inference_mode():
                if space.name == "kca-structure":
                    expected = sampler.structure.crossed(model.entities(torch.from_numpy(rows)), vector)[0]
                else:
                    kca, name = sampler.attention, space.name.removeprefix("kca-")
                    expected = kca.crossed(kca.attend(tokens), kca.gates(vector))[name][0]
            np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
            total = total + count / frequency.sum() * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        np.testing.assert_allclose(space.gather(rows), total, rtol=1e-3, atol=1e-5)


def test_the_same_options_give_the_same_numbers_and_another_seed_others(explainer, analysis):
    again = analyze(explainer, Options(pairs=50, map_points=0))
    assert again == analysis
    other = analyze(explainer, Options(pairs=50, map_points=0, seed=1))
    assert other.space("entities")["alignment"] != analysis.space("entities")["alignment"]
    # What is made of every vector does not depend on the draws.
    assert other.space("entities")["effective_rank"].value == analysis.space("entities")["effective_rank"].value


def test_a_collapsed_table_is_a_concern_and_says_what_helps(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    stored = load_file(run / "model.safetensors")
    table = stored["model.entities.table"]
    stored["model.entities.table"] = torch.ones_like(table) + 1e-3 * table
    save_file(stored, run / "model.safetensors", metadata={"step": "30"})
    found = analyze(run, Options(map_points=0)).space("entities")
    for name in ("uniformity", "effective_rank", "top_share", "mean_cosine"):
        assert found[name].concern and found[name].remedy
    assert not found["alignment"].concern  # a collapsed space is perfectly aligned, which is why it is not read alone
    assert found["mean_cosine"].value == pytest.approx(1, abs=1e-3)


def test_hardness_is_that_of_explanations(finished_run, explainer):
    analysed = analyze(explainer, Options(sample=10, pairs=10, map_points=0)).hardness
    rng = np.random.default_rng([0, 4])
    train = explainer.dataset.train
    triples = train[rng.permutation(len(train))[:10]]
    names, relations = explainer.dataset.entities.ids, explainer.dataset.relations.ids
    sides = [
        explainer.explain(names[h], relations[r], names[t], sides=(side,)).sides[0].sampling
        for (h, r, t), side in zip(triples.tolist(), ["tail"] * 5 + ["head"] * 5, strict=True)
    ]
    assert analysed.questions == 10
    for field, name in (
        ("expected_score", "expected_score"), ("uniform_score", "uniform_score"),
        ("entropy", "entropy"), ("held_out_mass", "held_out_mass"),
    ):  # fmt: skip
        assert getattr(analysed, field) == pytest.approx(np.mean([getattr(s, name) for s in sides]), rel=1e-4)
    assert analysed.harder == np.mean([s.expected_score > s.uniform_score for s in sides])


@pytest.mark.parametrize("pairs", [10, 11, 40, 99])
def test_half_of_the_questions_are_of_each_direction(explainer, monkeypatch, pairs):
    asked = []

    def counted(sampler, model, queries, *others):
        asked.extend([queries.direction] * len(queries.anchor))
        return distribution(sampler, model, queries, *others)

    monkeypatch.setattr("mmrns.analysis.hardness.distribution", counted)
    found = hardness(explainer, Options(sample=10, pairs=pairs, map_points=0))
    assert found.questions == len(asked) == pairs
    assert abs(asked.count(HEAD) - asked.count(TAIL)) <= 1


@pytest.mark.parametrize(("effect", "size"), [(0.06, "too little to matter"), (0.3, "a little"), (-2.0, "much")])
def test_a_report_and_an_analysis_call_a_difference_the_same(effect, size):
    interval = Difference(effect, effect - 0.01, effect + 0.01)
    said = _reading(effect), _hardness_verdict(interval, effect)
    kind = "harder" if effect > 0 else "easier"
    assert all(f"{kind} than uniform ones" in line and in_deviations(effect) in line for line in said)
    assert size in said[0] and (effect < 0 or size in said[1])


def test_the_course_of_training_is_read_from_the_history(analysis, finished_run):
    lines = [line for line in read_history(finished_run / "history.jsonl") if "embedding/alignment" in line]
    assert [moment.step for moment in analysis.history] == [10, 20, 30]
    assert [moment.alignment for moment in analysis.history] == [line["embedding/alignment"] for line in lines]


def test_the_command_writes_what_it_prints(bare_run, tmp_path, capsys):
    run = shutil.copytree(bare_run, tmp_path / "run")
    assert main(["analyze", str(run), *QUICK, "--map-points", "20", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    folder = run / "analysis"
    assert json.loads((folder / "analysis.json").read_text()) == printed
    assert printed["format"] == "mmrns-analysis-1" and "maps" not in printed
    files = {picture["file"] for picture in printed["pictures"]}
    assert files == {path.name for path in folder.glob("*.png")} == {"spectra.png", "plane.png", "map-entities.png"}
    for picture in printed["pictures"]:
        assert picture["title"] and picture["alt"]
        with Image.open(folder / picture["file"]) as opened:
            opened.verify()
    drawn = json.loads((folder / "maps.json").read_text())["maps"]
    assert [(points["space"], set(points["methods"]) >= {"pca", "tsne"}) for points in drawn] == [("entities", True)]
    lengths = {len(drawn[0][key]) for key in ("ids", "labels", "types")}
    assert lengths == {len(xy) for xy in drawn[0]["methods"].values()} == {20}

    # Without maps the old ones go, since analysis.json no longer lists them.
    assert main(["analyze", str(run), *NO_MAPS]) == 0
    text = capsys.readouterr().out
    assert {path.name for path in folder.glob("*.png")} == {"spectra.png", "plane.png"}
    for measured in printed["spaces"][0]["measures"]:
        assert measured["title"] in text and measured["reading"] in text
    assert not list(folder.glob(".*"))


def test_several_runs_share_the_plane_and_a_uniform_one_says_what_it_lacks(finished_run, bare_run, tmp_path, capsys):
    runs = [shutil.copytree(run, tmp_path / name) for run, name in ((finished_run, "mmrns"), (bare_run, "uniform"))]
    assert main(["analyze", *map(str, runs), *NO_MAPS, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert [space["name"] for space in second["spaces"]] == ["entities", "relations"]
    assert second["hardness"] is None and second["retrieval"] == []
    said = " ".join(second["notes"])
    assert "no image features" in said and "uniform does not choose negatives by likeness" in said
    for found in (first, second):
        (plane,) = [p for p in found["pictures"] if p["file"] == "plane.png"]
        assert "mmrns: alignment" in plane["alt"] and "uniform: alignment" in plane["alt"]


def test_types_and_a_hierarchy_are_used_where_there_are_some(tiny_graph, tmp_path):
    graph = shutil.copytree(tiny_graph, tmp_path / "typed", ignore=shutil.ignore_patterns("features.*"))
    records = [json.loads(line) for line in (graph / "entities.jsonl").read_text().splitlines()]
    typed = [record | {"type": "even" if number % 2 == 0 else "odd"} for number, record in enumerate(records)]
    (graph / "entities.jsonl").write_text("".join(json.dumps(record) + "\n" for record in typed))
    write_tiny_features(graph)
    assert main(train_command(graph, tmp_path / "run", "mmrns", steps=2)) == 0
    found = analyze(tmp_path / "run", Options(pairs=50, map_points=0, taxonomy="related 1"))
    for space in found.spaces:
        names = {m.name for m in space.measures}
        wanted = {"cluster_purity", "cluster_rand", "type_silhouette", "probe_accuracy", "relatedness_taxonomy"}
        assert names & wanted == (wanted if space.name != "relations" else set())
    assert found.space("entities")["probe_accuracy"].value < 0.85  # the types are in no fact


def test_the_text_says_what_the_sampler_and_the_training_did(analysis):
    text = as_text(analysis)
    assert analysis.hardness.reading in text and "## From kca-image to kca-text" in text
    assert f"{analysis.history[-1].uniformity:.4f}" in text


def test_maps_of_equal_or_of_few_vectors_are_left_out():
    assert maps(np.ones((20, 4)), 0) == {} and maps(np.eye(3), 0) == {}


def test_neighbours_in_the_space_are_neighbours_in_the_plane():
    rng = np.random.default_rng(0)
    groups = 20 * np.eye(8)[np.repeat([0, 1, 2], 15)] + rng.standard_normal((45, 8))
    for points in maps(groups, 0).values():
        assert silhouette_score(np.array(points), np.repeat([0, 1, 2], 15)) > 0.6


def test_umap_is_drawn_where_it_is_installed(tmp_path, monkeypatch):
    (tmp_path / "umap.py").write_text(
        "class UMAP:\n"
        "    def __init__(self, random_state): self.seed = random_state\n"
        "    def fit_transform(self, vectors): return vectors[:, :2] + self.seed\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    points = maps(np.random.default_rng(0).standard_normal((20, 4)), 3)
    assert set(points) == {"pca", "tsne", "umap"}
    np.testing.assert_allclose(points["umap"], np.array(points["pca"]) + 3, atol=1e-3)
    sys.modules.pop("umap", None)


def test_the_projector_gets_vectors_labels_types_and_pictures(finished_run, tiny_graph, tmp_path):
    graph = shutil.copytree(tiny_graph, tmp_path / "tiny")
    records = [json.loads(line) for line in (graph / "entities.jsonl").read_text().splitlines()]
    records[3] |= {"images": ["red.png"], "label": "with\ta tab"}
    Image.new("RGB", (60, 30), (255, 0, 0)).save(graph / "red.png")
    (graph / "entities.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    run = shutil.copytree(finished_run, tmp_path / "run")
    config = (run / "config.yaml").read_text().replace(str(tiny_graph), str(graph))
    (run / "config.yaml").write_text(config)
    folder = tmp_path / "projector"
    folder.mkdir()
    (folder / "old").touch()
    write_projector(Explainer(run), folder, Options())
    assert not (folder / "old").exists()
    config = (folder / "projector_config.pbtxt").read_text()
    paths = re.findall(r'(tensor_path|metadata_path|image_path): "([^"]+)"', config)
    assert len([1 for kind, _ in paths if kind == "tensor_path"]) == 7
    assert len([1 for kind, _ in paths if kind == "image_path"]) == 6  # relations have no pictures
    assert all((folder / path).is_file() for _, path in paths)
    labels = (folder / "00000/entities/metadata.tsv").read_text().splitlines()
    assert labels[0] == "label\tid\ttype" and labels[4] == "with a tab\te03\t"
    vectors = np.loadtxt(folder / "00000/entities/tensors.tsv", delimiter="\t")
    np.testing.assert_allclose(vectors, load_file(run / "model.safetensors")["model.entities.table"], rtol=1e-5)
    with Image.open(folder / "00000/entities/sprite.png") as sprite:
        assert sprite.size == (8 * 32, 8 * 32)  # 60 pictures of 32 pixels
        assert sprite.getpixel((3 * 32 + 16, 16)) == (255, 0, 0)
        assert sprite.getpixel((3 * 32 + 16, 2)) == (255, 255, 255)  # beside a picture that is wider than high
        assert sprite.getpixel((2 * 32 + 16, 16)) == (204, 204, 204)  # none


def test_what_is_not_a_number_is_null_and_no_concern():
    for value in (None, math.nan, math.inf):
        found = measure("relatedness", value, 0.0, 3)
        assert (found.value, found.concern, found.remedy) == (None, False, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sample", "3"], "--sample 3: give at least 10"),
        (["--pairs", "0"], "--pairs 0: give at least 10"),
        (["--map-points", "-1"], "--map-points -1: give at least 0"),
        (["--seed", "-4"], "--seed -4: give at least 0"),
        (["--taxonomy", "relatd 1"], "--taxonomy relatd 1: unknown relation; did you mean 'related 1'"),
        (["--sample", "many"], "argument --sample: invalid int value: 'many'"),
    ],
)
def test_a_bad_option_is_one_line(finished_run, capsys, arguments, message):
    try:
        status = main(["analyze", str(finished_run), *arguments])
    except SystemExit as stop:
        status = stop.code
    written = capsys.readouterr()
    assert status == 2 and written.out == ""
    assert message in written.err and written.err.count("\n") == 1
    assert not (finished_run / "analysis").exists()


def test_a_wrong_folder_and_a_diverged_run_are_one_line(finished_run, tmp_path, capsys):
    assert main(["analyze", str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err
    run = shutil.copytree(finished_run, tmp_path / "run")
    stored = load_file(run / "model.safetensors")
    stored["model.entities.table"][3, 0] = torch.nan
    save_file(stored, run / "model.safetensors", metadata={"step": "30"})
    assert main(["analyze", str(run)]) == 2
    written = capsys.readouterr()
    assert "entity embeddings are not finite: the training diverged" in written.err and written.err.count("\n") == 1
    assert not (run / "analysis").exists()
    with pytest.raises(UserError, match="not a run folder"):
        analyze(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_named(bare_run, tmp_path, capsys):
    run = shutil.copytree(bare_run, tmp_path / "run")
    (run / "analysis").write_text("mine")
    assert main(["analyze", str(run), *NO_MAPS]) == 2
    assert str(run / "analysis") in capsys.readouterr().err
    assert (run / "analysis").read_text() == "mine"
