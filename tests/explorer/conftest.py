"""A tiny graph with drawn pictures and hostile names, two runs on it, and an explorer of both."""

import json
import random
import shutil
import threading

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mmrns.cli import main
from mmrns.explorer.server import application, bind, server_of
from mmrns.explorer.session import Explorer
from mmrns.features import FeatureStore
from mmrns.graph import load_dataset
from tests.tiny import ENTITIES, train_command, write_tiny_graph

PICTURES = 12
MARKUP = "<img src=x onerror=\"document.title='broken into'\"> ${6*7} {{value}}"
# How an extraction says where tokens lie: four regions of a picture of 14 x 14 patches.
IMAGE = {
    "pooling": "grid",
    "source_tokens": 196,
    "images_per_entity": 4,
    "preprocessing": {
        "input_size": [3, 224, 224], "crop_pct": 1.0, "crop_mode": "center", "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
    },
}  # fmt: skip


def write_pictured_graph(folder):
    """The tiny graph; its first entities have pictures, texts and types, e03 a name that is markup, and e04 a picture
    that lies outside of the dataset.
    """
    write_tiny_graph(folder)
    Image.new("RGB", (64, 64), "red").save(folder.parent / "secret.png")
    (folder / "images").mkdir()
    rng = random.Random(1)
    records = [json.loads(line) for line in (folder / "entities.jsonl").read_text().splitlines()]
    for number, record in enumerate(records):
        record["type"] = "odd" if number % 2 else "even"
        record["texts"] = [f"Sentence {n} of thing {number}." for n in range(3)]
        if number < PICTURES:
            picture = Image.new("RGB", (240, 160), tuple(rng.randrange(256) for _ in range(3)))
            ImageDraw.Draw(picture).ellipse([60 + number, 20, 180, 140], fill=tuple(rng.randrange(256) for _ in "rgb"))
            picture.save(folder / f"images/{number}.png")
            record["images"] = [f"images/{number}.png"]
    records[3]["label"] = MARKUP
    records[4]["images"] = ["../secret.png"]
    (folder / "entities.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    rng = np.random.default_rng(0)
    has = np.arange(ENTITIES)[:, None] < PICTURES
    arrays = {
        "image": (rng.standard_normal((ENTITIES, 4, 5)).astype(np.float32), np.repeat(has, 4, axis=1)),
        "text": (rng.standard_normal((ENTITIES, 3, 4)).astype(np.float32), np.ones((ENTITIES, 3), dtype=bool)),
    }
    manifest = {"modalities": {"image": IMAGE, "text": {"split": "none"}}}
    FeatureStore.write(load_dataset(folder), arrays, manifest=manifest)
    return folder


@pytest.fixture(scope="package")
def pictured_graph(tmp_path_factory):
    """Folder of the graph. Nobody writes into it."""
    return write_pictured_graph(tmp_path_factory.mktemp("data") / "pictured")


@pytest.fixture(scope="package")
def trained_runs(pictured_graph, tmp_path_factory):
    """Folders of an MMRNS run and of a uniform one."""
    folder = tmp_path_factory.mktemp("explored")
    for sampler in ("mmrns", "uniform"):
        assert main(train_command(pictured_graph, folder / sampler, sampler)) == 0
    return folder / "mmrns", folder / "uniform"


@pytest.fixture(scope="package")
def runs(trained_runs, tmp_path_factory):
    """Copies of both, for the explorer to keep its calibration and maps in."""
    folder = tmp_path_factory.mktemp("kept")
    return tuple(shutil.copytree(run, folder / run.name) for run in trained_runs)


@pytest.fixture(scope="package")
def explorer(runs):
    """Both runs, open and prepared."""
    opened = Explorer(*runs, answers=12)
    opened.prepare().join()
    return opened


@pytest.fixture(scope="package")
def served(explorer):
    """Address of the explorer's page on a free port of this machine."""
    bound = bind("127.0.0.1", 0)
    port = bound.getsockname()[1]
    server = server_of(application(explorer, "127.0.0.1", port))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)
    bound.close()
