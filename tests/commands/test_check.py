"""`mmrns check` as its users meet it, its findings about features, and the published benchmarks."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from mmrns.cli import main
from mmrns.commands.check import diagnose
from mmrns.features import FeatureStore
from mmrns.graph.dataset import load_dataset

TRAIN = "a\tr\tb\nb\tr\tc\nc\ts\td\nd\ts\ta\n"


@pytest.fixture
def folder(tmp_path):
    """A dataset with nothing to warn of: pictures of a and b, texts of all."""
    (tmp_path / "train.txt").write_text(TRAIN)
    (tmp_path / "valid.txt").write_text("a\tr\tc\n")
    (tmp_path / "test.txt").write_text("b\ts\td\n")
    (tmp_path / "pixel.png").touch()
    records = [{"id": name, "texts": ["One."], "images": ["pixel.png"] * (name in "ab")} for name in "abcd"]
    (tmp_path / "entities.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


def write_features(folder, images=(True, True, False, False), manifest=None, into=None):
    """Features with image tokens for some entities and text tokens for all."""
    masks = {"image": np.array(images)[:, None].repeat(2, axis=1), "text": np.ones((4, 1), dtype=bool)}
    arrays = {name: (np.ones((*mask.shape, 3), dtype=np.float32), mask) for name, mask in masks.items()}
    FeatureStore.write(load_dataset(folder), arrays, into, manifest)


def of_code(result, code):
    return [finding for finding in result["findings"] if finding["code"] == code]


def test_a_sound_dataset_passes_strictly(folder, capsys):
    assert main(["check", str(folder), "--strict"]) == 0
    assert "0 errors, 0 warnings, 2 notes" in capsys.readouterr().out


def test_one_of_a_kind_is_said_in_the_singular(folder, capsys):
    (folder / "train.txt").write_text(TRAIN + "a\tr\tb\na\tr\tc\na\tr\ta\n")
    (folder / "pixel.png").unlink()
    (folder / "entities.jsonl").unlink()
    assert main(["check", str(folder)]) == 0
    assert "\n1 error, 1 warning, 1 note\n" in capsys.readouterr().out


def test_pictures_that_are_not_there_cover_nobody(folder):
    (folder / "pixel.png").unlink()
    result = diagnose(str(folder))
    assert of_code(result, "image-coverage") == []
    assert of_code(result, "missing-images")[0]["count"] == 2


def test_json_is_one_document_with_summary_and_findings(folder, capsys):
    assert main(["check", str(folder), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == diagnose(str(folder))
    assert (result["dataset"], result["errors"], result["warnings"], result["notes"]) == (folder.name, 0, 0, 2)
    assert result["summary"]["triples"] == {"train": 4, "valid": 1, "test": 1}
    assert result["summary"]["features"] == {}
    assert set(result["findings"][0]) == {"code", "severity", "where", "count", "explanation", "examples", "figures"}


@pytest.mark.parametrize(
    ("addition", "severity"), [("a\tr\tb\n", "warning"), ("a\tr\tc\n", "error")], ids=["duplicate", "leak"]
)
def test_strict_fails_on_warnings_and_errors_after_printing_them(folder, capsys, addition, severity):
    (folder / "train.txt").write_text(TRAIN + addition)
    assert main(["check", str(folder)]) == 0
    lenient = capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["check", str(folder), "--strict"])
    assert stopped.value.code == 1
    assert capsys.readouterr().out == lenient
    assert re.search(rf"^\| {severity} ", lenient, re.MULTILINE)
    assert re.search(rf"^{severity}: ", lenient, re.MULTILINE)


def test_notes_alone_do_not_fail_strictly(folder):
    (folder / "train.txt").write_text(TRAIN + "a\tr\ta\n")
    assert of_code(diagnose(str(folder)), "self-loops")
    assert main(["check", str(folder), "--strict"]) == 0


def test_the_gravest_findings_come_first(folder):
    (folder / "train.txt").write_text(TRAIN + "a\tr\tb\na\tr\tc\na\tr\ta\n")
    severities = [finding["severity"] for finding in diagnose(str(folder))["findings"]]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert set(severities) == {"error", "warning", "note"}


def test_a_dataset_that_cannot_be_read_is_one_line_and_status_2(folder, capsys):
    (folder / "valid.txt").write_text("a\tr\n")
    assert main(["check", str(folder)]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert re.fullmatch(r"mmrns check: .*valid\.txt:1: 2 columns instead of 3; write .*\n", written.err)


def test_coverage_is_told_from_the_records_when_there_are_no_features(folder):
    result = diagnose(str(folder))
    (image,) = of_code(result, "image-coverage")
    assert (image["severity"], image["where"], image["count"]) == ("note", "entities.jsonl", 2)
    assert image["figures"]["train"] == {"entities": 0.5, "answers": 0.5}
    assert image["figures"]["valid"] == {"entities": 0.5, "answers": 0.5}
    (text,) = of_code(result, "text-coverage")
    assert text["count"] == 4


def test_coverage_counts_answers_by_triple_and_entities_once(folder):
    (folder / "test.txt").write_text("b\ts\td\nc\tr\td\nc\tr\ta\n")
    (image,) = of_code(diagnose(str(folder)), "image-coverage")
    # a and b of a, b, c, d; b, d, c, d, c, a are the answers.
    assert image["figures"]["test"] == {"entities": 0.5, "answers": pytest.approx(2 / 6, abs=1e-6)}


def test_coverage_is_told_from_the_features_when_there_are_some(folder):
    write_features(folder, images=(True, True, True, False))
    result = diagnose(str(folder))
    (image,) = of_code(result, "image-coverage")
    assert (image["where"], image["count"]) == ("features", 3)
    assert image["examples"] == ["without: d"]
    assert result["summary"]["features"] == {"image": [2, 3], "text": [1, 3]}
    assert result["errors"] == result["warnings"] == 0


def test_pictures_that_came_to_nothing_are_named_with_the_reason(folder):
    faults = [{"entity": "b", "file": "pixel.png", "reason": "cannot be decoded"}]
    write_features(folder, images=(True, False, False, False), manifest={"faults": faults})
    (lost,) = of_code(diagnose(str(folder)), "listed-without-features")
    assert (lost["severity"], lost["where"], lost["count"]) == ("warning", "image features", 1)
    assert lost["examples"] == ["b: cannot be decoded"]


def test_pictures_that_came_to_nothing_at_all_are_not_counted_from_the_records(folder):
    faults = [{"entity": "a", "file": "pixel.png", "reason": "cannot be decoded"}]
    text = np.ones((4, 1, 3), dtype=np.float32), np.ones((4, 1), dtype=bool)
    for counts in ({}, {"image_inputs": 2, "text_inputs": 4}):
        FeatureStore.write(load_dataset(folder), {"text": text}, None, {"faults": faults, "counts": counts})
        result = diagnose(str(folder))
        assert of_code(result, "image-coverage") == []
        assert of_code(result, "text-coverage")[0]["count"] == 4
        found = [(lost["where"], lost["count"]) for lost in of_code(result, "listed-without-features")]
        assert found == ([("image features", 2)] if counts else [])
    (lost,) = of_code(result, "listed-without-features")
    assert lost["examples"] == ["a: cannot be decoded", "b: no reason recorded"]


def test_features_for_another_number_of_entities_are_an_error(folder):
    write_features(folder)
    (folder / "train.txt").write_text(TRAIN + "a\tr\tnew\n")
    (found,) = of_code(diagnose(str(folder)), "features-unusable")
    assert found["severity"] == "error"
    assert "made for 4 entities, the dataset has 5; run: mmrns extract" in found["explanation"]


def test_features_for_another_vocabulary_are_an_error(folder):
    write_features(folder)
    for split in ("train", "test"):
        text = (folder / f"{split}.txt").read_text()
        (folder / f"{split}.txt").write_text(text.replace("d", "z"))
    (found,) = of_code(diagnose(str(folder)), "features-unusable")
    assert "made for another entity vocabulary (its SHA-256 differs)" in found["explanation"]


def test_features_whose_bytes_changed_are_an_error(folder):
    write_features(folder)
    path = folder / "features.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (found,) = of_code(diagnose(str(folder)), "features-unusable")
    assert "SHA-256" in found["explanation"]


@pytest.mark.parametrize("lost", ["features.safetensors", "features.json"])
def test_half_of_the_features_is_an_error(folder, lost):
    write_features(folder)
    (folder / lost).unlink()
    assert len(of_code(diagnose(str(folder)), "features-unusable")) == 1


def test_features_are_looked_for_in_the_folder_that_is_given(folder, tmp_path_factory, capsys):
    elsewhere = tmp_path_factory.mktemp("features")
    assert len(of_code(diagnose(str(folder), elsewhere), "features-unusable")) == 1
    write_features(folder, into=elsewhere)
    assert main(["check", str(folder), "--features", str(elsewhere), "--json", "--strict"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["features"] == {"image": [2, 3], "text": [1, 3]}


# The published benchmarks, by what is known about them.
DATA = os.environ.get("MMRNS_DATA", "")


def benchmark(name):
    if not (Path(DATA) / name / "train.txt").is_file() or not DATA:
        pytest.skip(f"needs the published triples of {name}: set MMRNS_DATA to the folder that holds {name}/")
    return diagnose(str(Path(DATA) / name))


def figures(result, code, where):
    (finding,) = [finding for finding in of_code(result, code) if finding["where"] == where]
    return finding["figures"]


def test_db15k_has_a_validation_split_of_73_clean_triples():
    result = benchmark("DB15K")
    assert result["summary"]["entities"] == 12_842
    assert result["summary"]["relations"] == 279
    assert result["summary"]["triples"] == {"train": 79_222, "valid": 9_904, "test": 9_902}
    overlap = figures(result, "split-overlap", "valid.txt")
    assert {name: overlap[name] for name in ("rows", "distinct", "in_train", "in_test", "clean")} == {
        "rows": 9_904,
        "distinct": 7_481,
        "in_train": 6_584,
        "in_test": 824,
        "clean": 73,
    }
    of_test = figures(result, "split-overlap", "test.txt")
    assert (of_test["in_train"], of_test["in_valid"]) == (0, 824)


@pytest.mark.parametrize(("name", "percent"), [("MKG-Y", 14.6), ("MKG-W", 7.2), ("DB15K", 0.8)])
def test_published_benchmarks_test_entities_that_train_never_shows(name, percent):
    unseen = figures(benchmark(name), "unseen-entities", "test.txt")
    assert round(100 * unseen["share"], 1) == percent


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("MKG-W", (15_000, 169, 34_196, 4_276, 4_274)), ("MKG-Y", (15_000, 28, 21_310, 2_665, 2_663))],
)
def test_published_benchmarks_without_overlap_have_no_error(name, sizes):
    result = benchmark(name)
    summary = result["summary"]
    assert (summary["entities"], summary["relations"], *summary["triples"].values()) == sizes
    assert result["errors"] == 0
