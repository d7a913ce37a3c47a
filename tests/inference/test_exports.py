"""Exports: embeddings read back by strict readers, and ONNX scorers equal to the model."""

import json
import re
import sys
from urllib.parse import unquote

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch

from mmrns import load
from mmrns.cli import main
from mmrns.graph.answers import HEAD, TAIL
from mmrns.plugins import choices
from mmrns.scoring import ScoringFunction
from tests.inference.runs import untrained_run, write_graph

IDS = ["plain", "two words", "100%", "tab-less", "日本 語", "a\u00a0b", "#", "x\u2028y"]


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    rng = np.random.default_rng(0)
    triples = [(h, r, t) for h in IDS for r in ("is a", "r%2") for t in IDS]
    chosen = [triples[i] for i in rng.permutation(len(triples))[:60]]
    records = [{"id": identifier, "label": f"label\tof\n{identifier}"} for identifier in IDS]
    folder = tmp_path_factory.mktemp("graph")
    return write_graph(folder, {"train": chosen[:40], "valid": chosen[40:50], "test": chosen[50:]}, records)


@pytest.fixture(scope="module")
def run(graph, tmp_path_factory):
    return untrained_run(tmp_path_factory.mktemp("exports") / "run", graph, "complex")


def exported(run, form, tmp_path):
    assert main(["export", str(run), "--format", form, "--output", str(tmp_path / form)]) == 0
    return tmp_path / form


def vectors_of(trained):
    with torch.no_grad():
        return trained.model.entities.everything().numpy(), trained.model.relations.weight.detach().numpy()


def names_in(path):
    """id -> label of a .tsv file, a line a row below the header, without which TensorBoard would drop the first row."""
    header, *lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert header == "id\tlabel"
    return [tuple(line.split("\t")) for line in lines]


def test_npy(run, tmp_path):
    trained = load(run)
    folder = exported(run, "npy", tmp_path)
    entities, relations = vectors_of(trained)
    np.testing.assert_array_equal(np.load(folder / "entities.npy", allow_pickle=False), entities)
    np.testing.assert_array_equal(np.load(folder / "relations.npy", allow_pickle=False), relations)
    named = names_in(folder / "entities.tsv")
    assert [identifier for identifier, _ in named] == trained.entities.ids
    assert {label for _, label in named} == {f"label of {identifier}".replace("\u2028", " ") for identifier in IDS}
    assert [identifier for identifier, _ in names_in(folder / "relations.tsv")] == ["is a", "r%2"]
    said = json.loads((folder / "export.json").read_text())
    assert said["shapes"] == {"entities": [8, 12], "relations": [2, 12]}
    assert (said["scoring_function"], said["complex"]) == ("complex", "real parts, then imaginary parts")


def read_word2vec(path):
    """As gensim's KeyedVectors.load_word2vec_format reads text, but unforgiving: every line counts."""
    with path.open("rb") as file:
        number, width = map(int, file.readline().decode("utf-8", errors="strict").split())
        found = {}
        for line in file:
            token, *numbers = line.decode("utf-8", errors="strict").rstrip().split(" ")
            assert len(numbers) == width
            assert re.fullmatch(r"\S+", token)
            assert token not in found
            found[token] = np.array([float(text) for text in numbers], dtype=np.float32)
    assert len(found) == number
    return found


def test_word2vec(run, tmp_path):
    trained = load(run)
    folder = exported(run, "word2vec", tmp_path)
    for name, ids, vectors in zip(
        ("entities", "relations"), (trained.entities.ids, trained.relations.ids), vectors_of(trained), strict=True
    ):
        read = read_word2vec(folder / f"{name}.txt")
        assert [unquote(token, errors="strict") for token in read] == ids
        np.testing.assert_array_equal(np.stack(list(read.values())), vectors)  # every float32 comes back
    tokens = list(read_word2vec(folder / "entities.txt"))
    assert {"plain", "#", "two%20words", "100%25", "日本%20語"} <= set(tokens)


def test_parquet(run, tmp_path):
    trained = load(run)
    folder = exported(run, "parquet", tmp_path)
    for name, vocabulary, vectors in zip(
        ("entities", "relations"), (trained.entities, trained.relations), vectors_of(trained), strict=True
    ):
        table = pq.read_table(folder / f"{name}.parquet")
        assert table["id"].to_pylist() == vocabulary.ids
        assert table["label"].to_pylist() == vocabulary.labels
        assert str(table.schema.field("vector").type) == f"fixed_size_list<element: float>[{vectors.shape[1]}]"
        np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), dtype=np.float32), vectors)


def test_inverse_relations_have_names_of_their_own(graph, tmp_path):
    run = untrained_run(tmp_path / "run", graph, "distmult", reciprocal=True)
    folder = exported(run, "npy", tmp_path)
    assert [name for name, _ in names_in(folder / "relations.tsv")] == ["is a", "r%2", "is a^-1", "r%2^-1"]
    assert np.load(folder / "relations.npy").shape[0] == 4


def test_hub_folder(run, tmp_path):
    folder = exported(run, "hub", tmp_path)
    assert load(folder).predict(head="plain", relation="is a") == load(run).predict(head="plain", relation="is a")
    assert (folder / "README.md").read_text().startswith("---\n")


@pytest.mark.parametrize("reciprocal", [False, True], ids=["", "reciprocal"])
@pytest.mark.parametrize("name", choices("mmrns.scoring", ScoringFunction))
def test_onnx_scores_are_the_models(graph, tmp_path, name, reciprocal):
    run = untrained_run(tmp_path / "run", graph, name, reciprocal=reciprocal)
    trained = load(run)
    folder = exported(run, "onnx", tmp_path)
    entities, relations = len(trained.entities), len(trained.relations)
    for file, direction in (("heads.onnx", HEAD), ("tails.onnx", TAIL)):
        session = onnxruntime.InferenceSession(str(folder / file), providers=["CPUExecutionProvider"])
        for size in (1, 3, 2 * entities):  # more questions than entities, too
            anchor = torch.randint(0, entities, (size,))
            relation = torch.randint(0, relations, (size,))
            (scores,) = session.run(None, {"anchor": anchor.numpy(), "relation": relation.numpy()})
            with torch.no_grad():
                expected = trained.model.score_all(anchor, relation, direction).numpy()
            assert scores.shape == (size, entities)
            np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
        other = 1 - direction
        with torch.no_grad():
            swapped = trained.model.score_all(anchor, relation, other).numpy()
        if name != "distmult" or reciprocal:  # which is symmetric
            assert np.abs(scores - swapped).max() > 1e-3


def test_onnx_without_its_package_is_said_in_a_line(run, tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["export", str(run), "--format", "onnx", "--output", str(tmp_path / "out")]) == 2
    said = capfd.readouterr().err
    assert said == "mmrns export: --format onnx: needs the onnx package; run: pip install onnx onnxruntime\n"
    assert list(tmp_path.iterdir()) == []


def test_onnx_of_a_model_too_large_is_said(run, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("mmrns.inference.scorer._MOST_BYTES", 100)
    assert main(["export", str(run), "--format", "onnx", "--output", str(tmp_path / "out")]) == 2
    assert re.fullmatch(r"mmrns export: --format onnx: the model is larger than .*\n", capfd.readouterr().err)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--format", "csv", "--output", "new"],
            r"--format csv: unknown; choose one of npy, word2vec, parquet, onnx, hub",
        ),
        (["--format", "npy", "--output", "full"], r"full: already holds something; remove it or choose another folder"),
        (["--format", "npy", "--output", "file"], r"file: already holds something"),
        (["--format", "npy", "--output", "file/inside"], r"file/inside: cannot be written \(Not a directory\)"),
        (["--format", "npy", "--output", "new", "--license", "mit"], r"--license: belongs to --format hub"),
        (["--format", "npy"], r"the following arguments are required: --output"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(run, tmp_path, monkeypatch, capfd, argv, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "content").write_text("x")
    (tmp_path / "file").write_text("y")
    before = sorted(tmp_path.rglob("*"))
    try:
        status = main(["export", str(run), *argv])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert re.fullmatch(rf"mmrns export: {message}.*\n", capfd.readouterr().err)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_export_that_fails_leaves_nothing(run, tmp_path, monkeypatch):
    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmrns.inference.exports.np.save", no_room)
    assert main(["export", str(run), "--format", "npy", "--output", str(tmp_path / "out")]) == 2
    assert list(tmp_path.iterdir()) == []
