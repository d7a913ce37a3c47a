"""Pictures are inlined, small, and never from outside of the dataset."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mmrns.explanation import Shown
from mmrns.explorer.pictures import Thumbnails, data_uri


def decoded(uri):
    kind, _, data = uri.partition(";base64,")
    assert kind == "data:image/webp"
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "graph"
    (inside / "images").mkdir(parents=True)
    Image.new("RGB", (900, 300), (10, 200, 30)).save(inside / "images/wide.png")
    Image.new("RGB", (20, 20), "blue").save(inside / "images/small.png")
    Image.new("RGB", (50, 50), "red").save(tmp_path / "secret.png")
    (inside / "images/link.png").symlink_to(tmp_path / "secret.png")
    (inside / "images/broken.png").write_bytes(b"\x89PNG no more")
    return inside


def test_a_large_picture_is_scaled_down_and_a_small_one_is_left(folder):
    thumbnails = Thumbnails(folder, side=160)
    wide = decoded(thumbnails.file("images/wide.png"))
    assert wide.size == (160, 53)
    assert np.abs(np.asarray(wide, dtype=int).mean(axis=(0, 1)) - [10, 200, 30]).max() < 4
    assert decoded(thumbnails.file("images/small.png")).size == (20, 20)


@pytest.mark.parametrize(
    "file",
    ["../secret.png", "images/link.png", "images/broken.png", "images/none.png", "/etc/passwd", "a\0b", "images"],
)
def test_what_is_outside_or_no_picture_is_not_shown(folder, file):
    assert Thumbnails(folder).file(file) is None


def test_an_entitys_first_readable_picture_is_taken(folder):
    thumbnails = Thumbnails(folder)
    shown = Shown("x", "x", None, [str(folder / "images/broken.png"), str(folder / "images/small.png")], [])
    assert thumbnails.of(shown) == thumbnails.file("images/small.png")
    assert thumbnails.of(Shown("y", "y", None, [], [])) is None


def test_a_picture_is_read_once(folder, monkeypatch):
    thumbnails = Thumbnails(folder)
    first = thumbnails.file("images/small.png")
    (folder / "images/small.png").unlink()
    assert thumbnails.file("images/small.png") == first


def test_pixels_become_a_picture():
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, 8:] = 255
    found = np.asarray(decoded(data_uri(pixels)))
    assert found.shape == (8, 16, 3)
    assert found[:, :6].max() < 30 and found[:, 10:].min() > 225
