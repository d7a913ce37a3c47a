"""Regions are what the pooling averages: pooling one patch at a time must give the same shares."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from mmrns.explanation.entities import Entities
from mmrns.explanation.pictures import EncoderView, overlay
from mmrns.explanation.regions import regions
from mmrns.features import pooling
from mmrns.graph.dataset import load_dataset
from tests.tiny import write_tiny_graph


def manifest(how, tokens, sequence, height=224, width=224):
    preprocessing = {"input_size": [3, height, width]}
    entry = {"pooling": how, "tokens": tokens, "source_tokens": sequence, "preprocessing": preprocessing}
    return {"modalities": {"image": entry}}


def one_hot_map(rows, columns):
    """(patches, patches, rows, columns): channel c is 1 in patch c alone."""
    count = rows * columns
    return torch.eye(count, dtype=torch.float64).view(1, count, rows, columns)


@pytest.mark.parametrize(("rows", "columns", "tokens"), [(14, 14, 9), (7, 7, 4), (7, 7, 9), (8, 4, 4), (14, 14, 196)])
def test_grid_cells_are_those_of_the_pooling(rows, columns, tokens):
    pooled = pooling.grid(one_hot_map(rows, columns), tokens)[0]  # (tokens, patches)
    found = regions(manifest("grid", tokens, rows * columns, rows * 16, columns * 16))
    assert (found.rows, found.columns) == (rows, columns)
    np.testing.assert_allclose(found.shares, pooled.numpy(), atol=1e-12)
    assert not found.unseen.any()


def test_published_pooling_runs_along_the_sequence_with_the_class_token_first():
    """197 tokens in runs of 8: the first holds the class token and 7 patches, and the last 5 patches are dropped."""
    sequence = torch.eye(197, dtype=torch.float64)[None].repeat_interleave(
        5, dim=2
    )  # each channel 5 times, for the 3/2
    pooled = torch.nn.functional.avg_pool2d(sequence[:, :, ::5], (8, 1), stride=(8, 1))[0]
    assert pooling.published(sequence).shape[1] == 24
    found = regions(manifest("published", 24, 197))
    np.testing.assert_allclose(found.shares, pooled[:, 1:].numpy(), atol=1e-12)
    np.testing.assert_allclose(found.outside, [1 / 8] + [0] * 23, atol=1e-12)
    expected = np.zeros((14, 14), dtype=bool)
    expected[13, 9:] = True
    np.testing.assert_array_equal(found.unseen, expected)


def test_unpooled_tokens_are_patches_and_prefix_tokens_lie_outside():
    found = regions(manifest("none", 201, 201))  # a class token and four registers before 14 x 14 patches
    np.testing.assert_array_equal(found.outside, [1] * 5 + [0] * 196)
    np.testing.assert_array_equal(found.shares[5:], np.eye(196))


def test_even_attention_is_one_everywhere_even_where_cells_overlap():
    found = regions(manifest("grid", 9, 49))  # windows of 3 patches over 7: neighbours share one
    np.testing.assert_allclose(found.heat(np.full(9, 1 / 9)), np.ones((7, 7)))
    corner = found.heat(np.eye(9)[0])
    np.testing.assert_allclose(corner[:2, :2], 9)
    np.testing.assert_allclose(corner[2, 2], 9 / 4)  # four regions share it
    assert (corner[3:] == 0).all() and (corner[:, 3:] == 0).all()


def test_patches_that_no_token_covers_have_no_heat():
    heat = regions(manifest("published", 24, 197)).heat(np.full(24, 1 / 24))
    assert np.isnan(heat[13, 9:]).all()
    np.testing.assert_allclose(heat[:13], 1)


@pytest.mark.parametrize(
    "broken",
    [{}, {"modalities": {}}, {"modalities": {"image": {"tokens": 4, "width": 3}}}, manifest("other", 4, 49)],
)
def test_features_that_do_not_say_how_they_were_made_have_no_regions(broken):
    assert regions(broken) is None


def test_the_view_is_what_the_encoder_saw(tmp_path):
    """A wide picture with a red left quarter: a centre crop of the whole height loses it."""
    pixels = np.full((100, 200, 3), 255, dtype=np.uint8)
    pixels[:, :50] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    preprocessing = {
        "input_size": [3, 64, 64], "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0,
        "crop_mode": "center",
    }  # fmt: skip
    cropped = EncoderView({"modalities": {"image": {"preprocessing": preprocessing}}})
    assert cropped.exact and cropped(tmp_path / "wide.png").shape == (64, 64, 3)
    assert (cropped(tmp_path / "wide.png")[:, 3:] == 255).all()
    whole = EncoderView({})(tmp_path / "wide.png")
    assert not EncoderView({}).exact and (whole[:, 5] == (255, 0, 0)).all()
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert cropped(tmp_path / "bad.png") is None and cropped(tmp_path / "missing.png") is None


def test_overlay_paints_each_cell_alone_and_leaves_unseen_ones_grey():
    picture = np.full((4, 4, 3), 100, dtype=np.uint8)
    heat = np.array([[2.0, 1.0], [0.0, np.nan]])
    painted = overlay(picture, heat, span=1.0)
    more, even, less, unseen = painted[0, 0], painted[0, 2], painted[2, 0], painted[2, 2]
    assert more[0] > more[2] and less[2] > less[1]  # orange, violet
    assert np.ptp(even.astype(int)) < 6 and (unseen == 100).all()
    for y, x in ((0, 0), (0, 2), (2, 0), (2, 2)):
        assert (painted[y : y + 2, x : x + 2] == painted[y, x]).all()


def test_pictures_outside_of_the_dataset_are_not_shown(tmp_path):
    folder = write_tiny_graph(tmp_path / "graph")
    (tmp_path / "secret.png").write_bytes(b"x")
    records = [{"id": "e00", "images": ["../secret.png", "/etc/passwd", "inside.png"], "texts": ["One.", "Two."]}]
    (folder / "entities.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    shown = Entities(load_dataset(folder), None)[0]
    assert shown.pictures == [str(folder.resolve() / "inside.png")]
    assert shown.texts == ["One.", "Two."]
