"""A graph with pictures and hostile names, runs that were trained on it, and their pages. Nobody writes into them."""

import contextlib
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mmrns.cli import main
from mmrns.features import FeatureStore
from mmrns.graph.dataset import load_dataset
from tests.tiny import ENTITIES, tiny_features, train_command, write_tiny_graph

HOSTILE = [
    "<script>document.title = 'taken'</script>",
    '"><img src=x onerror="document.title = \'taken\'">',
    "{{ 7 * 7 }} {% raw %}",
    "</style></svg></table><b>out</b>",
    "javascript:alert(1)//' onfocus=alert(1) x='",
    "two\nlines & \u202e right to left, \u0000 nothing",
    "$\\frac{1}{2}$ _not_ *Markdown* | `pipe`",
    "北京 🐍 é",
]
# Seven by seven patches, averaged to two by two regions, over pictures cut to 28 pixels.
_SEEN = {
    "pooling": "grid",
    "source_tokens": 49,
    "images_per_entity": 1,
    "preprocessing": {
        "input_size": [3, 28, 28], "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0,
    },
}  # fmt: skip


def write_pictured_graph(folder):
    """The tiny graph; each name is hostile, most entities have a picture, all have texts."""
    write_tiny_graph(folder)
    (folder / "images").mkdir()
    records = []
    for n in range(ENTITIES):
        Image.new("RGB", (30, 24), (4 * n, 200 - 3 * n, 120)).save(folder / f"images/{n}.png")
        label = f"{HOSTILE[n % len(HOSTILE)]} {n}"
        records.append({"id": f"e{n:02}", "label": label, "texts": [f"about {label}"]})
        if n % 5:
            records[-1]["images"] = [f"images/{n}.png"]
    (folder / "entities.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    relations = [{"id": f"r{n}", "label": HOSTILE[n]} for n in range(4)]
    (folder / "relations.jsonl").write_text("".join(json.dumps(r) + "\n" for r in relations), encoding="utf-8")
    rng = np.random.default_rng(0)
    has = np.repeat(np.arange(ENTITIES)[:, None] % 5 > 0, 4, axis=1)
    features = tiny_features() | {"image": (rng.standard_normal((ENTITIES, 4, 5)).astype(np.float32), has)}
    FeatureStore.write(load_dataset(folder), features, manifest={"modalities": {"image": _SEEN}})
    return folder


@pytest.fixture(scope="session")
def pictured_graph(tmp_path_factory):
    """Folder of the graph with pictures."""
    return write_pictured_graph(tmp_path_factory.mktemp("pictured") / "<i>graph & co")


@pytest.fixture(scope="session")
def pictured_run(pictured_graph, tmp_path_factory):
    """An MMRNS run on it, looked at by `mmrns report --json`; report.html and what was printed are in its folder."""
    folder = tmp_path_factory.mktemp("runs") / "run <b>one</b>"
    assert main(train_command(pictured_graph, folder, "mmrns")) == 0
    with (folder / "printed.json").open("w") as printed, contextlib.redirect_stdout(printed):
        assert main(["report", str(folder), "--json"]) == 0
    return folder


@pytest.fixture(scope="session")
def other_seeds(finished_run, tiny_graph, tmp_path_factory):
    """Two seeds of a uniform run on the tiny graph, which finished_run was trained on too."""
    place = tmp_path_factory.mktemp("seeds")
    for seed in (0, 1):
        assert main(train_command(tiny_graph, place / f"uniform-{seed}", seed=seed)) == 0
    return [place / "uniform-0", place / "uniform-1"]


@pytest.fixture
def spoilt(finished_run, tmp_path):
    """A copy of a finished run to spoil."""
    return shutil.copytree(finished_run, tmp_path / "run")
