"""What makes an extraction fast changes nothing of it: batches by length, worker processes, several processes."""

import itertools
import json
import os
import signal

import numpy as np
import pytest
import torch

from mmrns.benchmark.extraction import Pictures, PlainPictures, PlainTexts, Texts, equal_features
from mmrns.cli import main
from mmrns.errors import UserError
from mmrns.features import FeatureStore, decoding
from mmrns.features.decoding import PictureError, decoded, read_picture
from mmrns.features.extract import extract
from mmrns.features.images import ImageEncoder
from mmrns.features.options import ExtractOptions
from mmrns.features.partial import PartialTokens
from mmrns.features.spans import Encoded
from mmrns.features.texts import batches_by_length
from tests.features.samples import SBERT, noise_picture, tiny_weights
from tests.training import stopped

CPU = torch.device("cpu")


@pytest.fixture
def pictures(make_dataset):
    """Ten entities: a flag that two far apart share, one of theirs listed twice, one that is torn, and one missing."""
    own = [[f"{number}.png"] for number in range(10)]
    own[1] = ["flag.png", "1.png"]
    own[4] = ["4.png", "4.png", "torn.png"]
    own[8] = ["8.png", "torn.png", "flag.png"]
    own[9] = []
    records = [
        {"id": f"e{row}", "images": files, "texts": [f"Thing {row}." * (row + 1)]} for row, files in enumerate(own)
    ]
    dataset = make_dataset(records)
    for number, file in enumerate(sorted({file for files in own for file in files} - {"6.png"})):
        noise_picture(dataset.folder / file, seed=number)
    torn = dataset.folder / "torn.png"
    torn.write_bytes(torn.read_bytes()[:500])
    return dataset


@pytest.fixture
def tiny(tmp_path):
    """Options: a small random encoder of pictures, spans of 3 entities, batches of 2."""
    weights = tiny_weights("test_resnet", tmp_path)
    return {
        "image_encoder": "test_resnet",
        "image_weights": weights,
        "text_encoder": "none",
        "span": 3,
        "batch_size": 2,
    }


def command(dataset, output, tiny, *more):
    names = ("image_encoder", "image_weights", "text_encoder", "span", "batch_size")
    flags = [part for name in names for part in ("--" + name.replace("_", "-"), str(tiny[name]))]
    return ["extract", str(dataset.folder), *flags, "--device", "cpu", "--output", str(output), *more]


def contents(folder):
    return [(folder / name).read_bytes() for name in ("features.safetensors", "features.json")]


def test_pictures_are_those_of_a_plain_loop(pictures, tiny):
    options = ExtractOptions(**tiny)
    name, count = str(pictures.folder), len(pictures.entities)
    ours = Pictures(name, options, count).features()
    plain = PlainPictures(name, options, count).features()
    assert ours[:9].any(axis=(1, 2)).tolist() == [True] * 6 + [False] + [True] * 2
    # Batches of another size may round in another way; features are kept in half precision.
    np.testing.assert_allclose(ours, plain, rtol=2e-3, atol=2e-3)


def test_the_benchmark_ends_where_the_sides_do_not_do_the_same(pictures, tiny):
    given = str(pictures.folder), ExtractOptions(**tiny)
    with pytest.raises(RuntimeError, match="not the same work"):
        equal_features(Pictures(*given, 10), _Shifted(*given, 10))


class _Shifted(PlainPictures):
    def encode(self, encoder):
        return np.roll(super().encode(encoder), 1, axis=0)


def test_sorted_texts_are_those_of_a_plain_loop(pictures):
    options = ExtractOptions(text_encoder=SBERT, text_batch_tokens=40)
    given = str(pictures.folder), options, 10
    ours, plain = Texts(*given).features(), PlainTexts(*given).features()
    # Padding changes the order of sums, by some 1e-7; half precision may round that up by its last bit.
    np.testing.assert_allclose(ours, plain, atol=1e-3)
    assert np.linalg.norm(ours[0] - ours[5]) > 0.05


@pytest.mark.parametrize("most", [None, 3])
@pytest.mark.parametrize("tokens", [1, 20, 10**6])
def test_batches_hold_texts_of_like_length_within_the_budget(tokens, most):
    lengths = np.random.default_rng(0).integers(1, 30, 50)
    batches = batches_by_length(lengths, tokens, most)
    assert sorted(np.concatenate(batches)) == list(range(50))
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= tokens for batch in batches)
    assert all(len(batch) <= (most or 50) for batch in batches)
    assert (np.diff(lengths[np.concatenate(batches)]) >= 0).all()
    for batch, following in itertools.pairwise(batches):  # no batch could have taken the next text too
        assert len(batch) == most or (len(batch) + 1) * lengths[following[0]] > tokens
    assert batches_by_length(np.array([], dtype=int), 5) == []


def test_a_picture_is_encoded_once_and_stands_for_all_its_entities(pictures, tiny, monkeypatch):
    read = []
    monkeypatch.setattr(
        decoding, "read_picture", lambda folder, file: (read.append(file), read_picture(folder, file))[1]
    )
    extract(pictures, ExtractOptions(**tiny, decoders=0))
    assert sorted(read) == sorted({*(f"{number}.png" for number in range(9)), "flag.png", "torn.png"})
    store = FeatureStore.open(pictures)
    faults = [(fault["entity"], fault["file"]) for fault in store.manifest["faults"]]
    assert faults == [("e4", "torn.png"), ("e6", "6.png"), ("e8", "torn.png")]


def test_workers_give_the_pixels_in_the_order_asked_and_the_reasons(pictures):
    wanted = [["3.png", "torn.png"], ["0.png"], ["nowhere.png"], ["2.png", "1.png", "flag.png"]]
    alone, shared = (list(decoded(pictures.folder, wanted, np.array, workers)) for workers in (0, 2))
    for (files, pixels, faults), (other_files, other_pixels, other_faults) in zip(alone, shared, strict=True):
        assert files == other_files and faults == other_faults
        assert (pixels is None) == (other_pixels is None) and (pixels is None or torch.equal(pixels, other_pixels))
    assert [files for files, _, _ in shared] == [["3.png"], ["0.png"], [], ["2.png", "1.png", "flag.png"]]
    with pytest.raises(PictureError) as caught:
        read_picture(pictures.folder, "torn.png")
    assert shared[0][2] == {"torn.png": str(caught.value)} and "cannot be decoded" in str(caught.value)
    assert torch.equal(shared[1][1][0], torch.from_numpy(np.array(read_picture(pictures.folder, "0.png"))))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not say which CPUs are one's own")
@pytest.mark.filterwarnings("error::UserWarning")  # torch's, of more workers than CPUs
def test_no_more_workers_than_cpus(pictures, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    found = list(decoded(pictures.folder, [["0.png"], ["1.png"], ["2.png"]], np.array, 2))
    assert [files for files, _, _ in found] == [["0.png"], ["1.png"], ["2.png"]]


def test_the_command_names_a_torn_picture_once_for_each_entity(pictures, tiny, tmp_path, capsys):
    assert main(command(pictures, tmp_path / "out", tiny, "--decoders", "1")) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "torn.png" in line]
    assert [line.split(":")[0].strip() for line in lines] == ["e4", "e8"]


def _die(image):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_is_one_line_that_names_the_picture(pictures):
    with pytest.raises(UserError, match=r"0\.png: a process that reads pictures died") as caught:
        list(decoded(pictures.folder, [["0.png"], ["1.png"]], _die, 1))
    assert "\n" not in str(caught.value) and "--decoders 0" in str(caught.value)


@pytest.mark.slow
def test_two_processes_write_the_bytes_of_one(pictures, tiny, tmp_path):
    given = {**tiny, "text_encoder": SBERT}
    assert main(command(pictures, tmp_path / "one", given)) == 0
    argv = command(pictures, tmp_path / "two", given)
    assert stopped.together(argv, tmp_path) == [0, 0], (tmp_path / "err0").read_text()
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["features.json", "features.safetensors"]
    assert stopped.together(argv, tmp_path) == [0, 0]  # there already


@pytest.mark.slow
def test_two_processes_both_end_where_nothing_can_be_used(make_dataset, tiny, tmp_path):
    dataset = make_dataset([{"id": "a", "images": ["nowhere.png"]}, {"id": "b"}])
    assert stopped.together(command(dataset, tmp_path / "out", tiny), tmp_path) == [2, 2]
    assert "none of its pictures can be used" in (tmp_path / "err0").read_text()
    assert "process 0 could not write" in (tmp_path / "err1").read_text()


@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_goes_on_with_what_a_killed_process_left_and_so_do_two(pictures, tiny, tmp_path, number, monkeypatch):
    assert main(command(pictures, tmp_path / "whole", tiny)) == 0
    out, appended, append = tmp_path / "parts", [], PartialTokens.append

    def interrupted(self, encoded):
        if len(appended) == 3:  # the shared pictures and two spans of entities
            raise KeyboardInterrupt
        appended.append(encoded.span)
        append(self, encoded)

    monkeypatch.setattr(PartialTokens, "append", interrupted)
    assert main(command(pictures, out, tiny)) == 130
    monkeypatch.undo()
    assert [path.name for path in out.iterdir()] == [".features.partial"]
    argv = command(pictures, out, tiny)
    assert (stopped.together(argv, tmp_path) if number == 2 else [main(argv)]) == [0] * number
    assert contents(out) == contents(tmp_path / "whole")


def test_spans_of_several_processes_come_in_the_order_of_rows(tmp_path):
    values = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float16)
    mask = np.arange(14).reshape(7, 2) % 3 > 0
    for index, spans in enumerate([[range(4, 6), range(0, 2)], [range(6, 7), range(2, 4)]]):
        part = PartialTokens(tmp_path, "x", 2, 3, index)
        for span in spans:
            block = slice(span.start, span.stop)
            part.append(Encoded(span, values[block], mask[block], {"from": span.start}))
    (tmp_path / "x.1.values").open("ab").write(b"torn")
    again = PartialTokens(tmp_path, "x", 2, 3, 1)
    assert again.finished() == {range(0, 2), range(2, 4), range(4, 6), range(6, 7)}
    assert again.notes() == [{"from": start} for start in (0, 2, 4, 6)]
    found, found_mask = again.arrays()
    assert np.array_equal(found, values) and np.array_equal(found_mask, mask)


def test_half_precision_is_near_single_and_named_in_the_manifest(pictures, tiny, tmp_path):
    single = ImageEncoder(pictures, ExtractOptions(**tiny), CPU)
    half = ImageEncoder(pictures, ExtractOptions(**tiny, precision="bf16"), CPU)
    assert "precision" not in single.source and half.source["precision"] == "bfloat16"
    pixels = torch.as_tensor(single.backbone.transform(read_picture(pictures.folder, "0.png")))[None]
    with torch.inference_mode():
        exact, rough = single.backbone.features(pixels), half.backbone.features(pixels)
    assert rough.dtype == torch.float32 and not torch.equal(exact, rough)
    assert (exact - rough).norm() < 0.05 * exact.norm()
    assert main(command(pictures, tmp_path / "out", tiny)) == 0
    assert "precision" not in json.loads((tmp_path / "out" / "features.json").read_text())["modalities"]["image"]
    with pytest.raises(UserError, match="--overwrite"):  # other numbers, so not the features that are there
        extract(pictures, ExtractOptions(**tiny, precision="bf16", output=tmp_path / "out"))


def test_bad_flags(pictures, capsys):
    for flags in (["--decoders", "-1"], ["--text-batch-tokens", "0"]):
        assert main(["extract", str(pictures.folder), *flags]) == 2
        assert " ".join(flags) in capsys.readouterr().err


@pytest.mark.slow
def test_the_benchmark_through_the_command(pictures, tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mmrns.benchmark.comparison.peak_memory", lambda side, threads: 1.0)
    flags = ["--image-encoder", "test_resnet", "--image-weights", tiny["image_weights"], "--text-encoder", SBERT]
    flags += ["--entities", "6", "--threads", "1", "--repetitions", "1", "--record", str(tmp_path / "record.json")]
    assert main(["benchmark", "extract", "--dataset", str(pictures.folder), *flags, "--json"]) == 0
    images, texts = json.loads(capsys.readouterr().out)["comparisons"]
    assert (images["unit"], texts["unit"]) == ("images", "texts")
    assert set(images["sides"]) == {"extract", "plain loop"}
    assert images["sides"]["extract"]["images_per_second"] > 0
    assert 0 < texts["sides"]["extract"]["shares"]["encoder"] < 1
    assert any("differ by at most" in note for note in images["notes"])
    assert "images/s" in (tmp_path / "record.md").read_text()
