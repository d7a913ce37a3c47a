"""The store: round trip, lazy reading, and every kind of bad file."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from mmrns.config import Config
from mmrns.errors import UserError
from mmrns.features import MODALITIES, FeatureStore
from mmrns.graph.dataset import load_dataset
from mmrns.training.loop import open_features


@pytest.fixture
def dataset(make_dataset):
    return make_dataset([{"id": name} for name in "abcde"])


def random_arrays(entities, modalities=MODALITIES, tokens=3, width=7, seed=0):
    generator = np.random.default_rng(seed)
    return {
        name: (
            generator.normal(size=(entities, tokens, width)).astype(np.float32),
            generator.random((entities, tokens)) < 0.6,
        )
        for name in modalities
    }


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    modalities=st.sampled_from([("image",), ("text",), ("image", "text")]),
    tokens=st.integers(1, 5),
    width=st.integers(1, 9),
    seed=st.integers(0, 1000),
    rows=st.lists(st.integers(0, 4), max_size=12),
    as_tensor=st.booleans(),
    resident=st.booleans(),
)
def test_what_is_written_is_read(dataset, modalities, tokens, width, seed, rows, as_tensor, resident):
    arrays = random_arrays(5, modalities, tokens, width, seed)
    given_arrays = {k: tuple(map(torch.from_numpy, pair)) for k, pair in arrays.items()} if as_tensor else arrays
    FeatureStore.write(dataset, given_arrays)
    store = FeatureStore.open(dataset)
    store.verify()
    if resident:
        store = store.resident(torch.device("cpu"), limit_mb=1)
    assert store.modalities == modalities
    for name, (values, mask) in arrays.items():
        expected = np.where(mask[..., None], values, 0).astype(np.float16).astype(np.float32)
        found, present = store.gather(name, torch.tensor(rows, dtype=torch.int64))
        assert store.shape(name) == (tokens, width)
        assert found.dtype == torch.float32 and present.dtype == torch.bool
        assert np.array_equal(found.numpy(), expected[rows].reshape(found.shape))
        assert np.array_equal(present.numpy(), mask[rows].reshape(present.shape))
        assert store.presence(name).tolist() == mask.any(axis=1).tolist()
        absent = [dataset.entities.ids[row] for row in np.flatnonzero(~mask.any(axis=1))]
        assert store.manifest["missing"][name] == absent
        assert store.manifest["counts"][name] == 5 - len(absent)


def test_the_same_numbers_give_the_same_bytes(dataset, tmp_path):
    first = FeatureStore.write(dataset, random_arrays(5), tmp_path / "one").path.read_bytes()
    assert FeatureStore.write(dataset, random_arrays(5), tmp_path / "two").path.read_bytes() == first


def test_float32_and_byte_masks_are_read(dataset):
    store = FeatureStore.write(dataset, random_arrays(5))
    tensors = load_file(store.path)
    exact = {k: v.astype(np.uint8) if k.endswith("_mask") else v.astype(np.float32) for k, v in tensors.items()}
    save_file(exact, store.path)
    again = FeatureStore.open(dataset)
    rows = torch.arange(5)
    for name in MODALITIES:
        for one, other in zip(store.gather(name, rows), again.gather(name, rows), strict=True):
            assert torch.equal(one, other)


def test_a_gather_reads_only_its_rows(make_dataset):
    """A sparse file of 8 GB is opened and 100 of its rows are read by a process that may hold far less."""
    entities = 2000
    dataset = make_dataset([{"id": f"e{number:05d}"} for number in range(entities)])
    store = FeatureStore.write(dataset, {"image": (np.ones((entities, 1, 4)), np.ones((entities, 1)))})
    tokens, width = 1000, 2000
    size = entities * tokens * width * 2
    header = {
        "image": {"dtype": "F16", "shape": [entities, tokens, width], "data_offsets": [0, size]},
        "image_mask": {"dtype": "BOOL", "shape": [entities, tokens], "data_offsets": [size, size + entities * tokens]},
    }
    text = json.dumps(header)
    text += " " * (-len(text) % 8)
    with store.path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text.encode())
        file.truncate(8 + len(text) + size + entities * tokens)
    manifest_path = store.path.with_name("features.json")
    manifest = json.loads(manifest_path.read_text())
    manifest["modalities"]["image"] |= {"tokens": tokens, "width": width}
    manifest_path.write_text(json.dumps(manifest))
    program = f"""
import torch
from mmrns.features import FeatureStore
from mmrns.graph.dataset import load_dataset
from mmrns.memory import peak_memory_mb
dataset = load_dataset({str(dataset.folder)!r})
before = peak_memory_mb()
store = FeatureStore.open(dataset)
opened = peak_memory_mb()
values, mask = store.gather("image", torch.arange(0, 2000, 200))
after = peak_memory_mb()
assert values.shape == (10, 1000, 2000) and not mask.any()
print(opened - before, after - before)
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    opened, gathered = map(float, answer.stdout.split())
    assert opened < 50
    assert gathered < 400  # MB: 10 rows are 40 MB as fp16, mapped and copied, and 80 MB as float32


def test_resident_only_below_the_limit(dataset):
    store = FeatureStore.write(dataset, random_arrays(5, tokens=100, width=1000))
    assert store.resident(torch.device("cpu"), limit_mb=1) is store
    kept = store.resident(torch.device("cpu"), limit_mb=10)
    assert kept is not store
    store.path.unlink()
    assert kept.gather("text", torch.tensor([1]))[0].shape == (1, 100, 1000)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"sound": (np.zeros((5, 1, 1)), np.ones((5, 1)))},
        {"text": (np.zeros((4, 1, 1)), np.ones((4, 1)))},
        {"text": (np.zeros((5, 2, 1)), np.ones((5, 1)))},
        {"text": (np.full((5, 1, 1), np.nan), np.ones((5, 1)))},
        {"text": (np.full((5, 1, 1), 1e6), np.ones((5, 1)))},
    ],
)
def test_unfit_arrays_are_refused(dataset, arrays):
    with pytest.raises(ValueError, match=r"arrays|text"):
        FeatureStore.write(dataset, arrays)
    assert not (dataset.folder / "features.safetensors").exists()


@pytest.mark.parametrize("lost", ["features.safetensors", "features.json"])
def test_a_run_takes_half_of_the_features_for_no_dataset_without_any(dataset, lost):
    config, cpu = Config(), torch.device("cpu")
    assert open_features(dataset, config, cpu) is None
    FeatureStore.write(dataset, random_arrays(5))
    (dataset.folder / lost).unlink()
    with pytest.raises(UserError, match=rf"{lost}: no such file; run: mmrns extract"):
        open_features(dataset, config, cpu)


def rewrite(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def edit_manifest(folder, **fields):
    path = folder / "features.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


BAD_FILES = {
    "features missing": lambda f: (f / "features.safetensors").unlink(),
    "manifest missing": lambda f: (f / "features.json").unlink(),
    "manifest not JSON": lambda f: (f / "features.json").write_text("{"),
    "manifest a list": lambda f: (f / "features.json").write_text("[]"),
    "another format": lambda f: edit_manifest(f, format="x"),
    "another count": lambda f: edit_manifest(f, entities=6),
    "another vocabulary": lambda f: edit_manifest(f, vocabulary_sha256="0"),
    "other modalities": lambda f: edit_manifest(f, modalities={"image": {}}),
    "modalities not an object": lambda f: edit_manifest(f, modalities=[1]),
    "other shapes": lambda f: edit_manifest(f, modalities={"image": {"tokens": 1, "width": 1}, "text": 3}),
    "empty file": lambda f: (f / "features.safetensors").write_bytes(b""),
    "not safetensors": lambda f: (f / "features.safetensors").write_bytes(b"PK\3\4 no such thing" * 9),
    "cut short": lambda f: (f / "features.safetensors").write_bytes((f / "features.safetensors").read_bytes()[:-9]),
    "no mask": lambda f: rewrite(f / "features.safetensors", lambda t: t.pop("text_mask")),
    "neither modality": lambda f: rewrite(f / "features.safetensors", lambda t: [t.pop(k) for k in list(t)]),
    "whole numbers": lambda f: rewrite(f / "features.safetensors", lambda t: t.update(text=t["text"].astype("i4"))),
    "flat values": lambda f: rewrite(f / "features.safetensors", lambda t: t.update(text=t["text"][:, 0].copy())),
    "too few rows": lambda f: rewrite(f / "features.safetensors", lambda t: t.update(text=t["text"][:4].copy())),
    "other mask": lambda f: rewrite(f / "features.safetensors", lambda t: t.update(text_mask=np.ones((5, 9), bool))),
    "float mask": lambda f: rewrite(f / "features.safetensors", lambda t: t.update(text_mask=np.ones((5, 3), "f4"))),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_one_line_that_names_the_file_and_the_mend(dataset, kind):
    FeatureStore.write(dataset, random_arrays(5))
    BAD_FILES[kind](dataset.folder)
    with pytest.raises(UserError) as caught:
        FeatureStore.open(dataset)
    message = str(caught.value)
    assert str(dataset.folder / "features.") in message
    assert f"mmrns extract {dataset.folder}" in message
    assert "\n" not in message


def test_features_of_another_graph_are_refused(dataset, make_dataset):
    store = FeatureStore.write(dataset, random_arrays(5))
    other = make_dataset([{"id": name} for name in "vwxyz"], name="other")
    with pytest.raises(UserError, match="another entity vocabulary"):
        FeatureStore.open(other, store.path.parent)
    # Even when the manifest has been replaced by one that fits: the numbers say for whom they were made.
    mine = FeatureStore.write(other, random_arrays(5))
    mine.path.write_bytes(store.path.read_bytes())
    with pytest.raises(UserError, match="another entity vocabulary"):
        FeatureStore.open(other)


def test_verify_sees_a_flipped_bit(dataset):
    store = FeatureStore.write(dataset, random_arrays(5))
    content = bytearray(store.path.read_bytes())
    content[-30] ^= 1
    store.path.write_bytes(content)
    with pytest.raises(UserError, match="SHA-256"):
        FeatureStore.open(load_dataset(dataset.folder)).verify()


@pytest.mark.parametrize(("mapped", "let_go"), [([0, 100, 200], 0), ([0, 100, 2**29], 2), ([2**29, 2**29, 2**29], 0)])
def test_mapped_pages_are_let_go_once_there_are_many_more_than_at_first(dataset, monkeypatch, mapped, let_go):
    """`mapped`: pages of files that the process has mapped when the store is opened, and after each of two look-ups."""
    FeatureStore.write(dataset, random_arrays(5, modalities=("image",)))
    advised = []
    said = iter([*mapped, mapped[-1]])
    monkeypatch.setattr("mmrns.features.store.mapped_bytes", lambda: next(said))
    monkeypatch.setattr("mmrns.features.store.advise", lambda array, advice: advised.append(advice))
    store = FeatureStore.open(dataset)
    first, second = (store.gather("image", torch.arange(5)) for _ in range(2))
    assert advised == ["DONTNEED"] * let_go  # values and mask
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
