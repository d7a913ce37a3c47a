"""Pooling against plain loops."""

import numpy as np
import pytest
import torch

from mmrns.errors import UserError
from mmrns.features import pooling


def test_published_pooling_has_the_published_shape_and_values():
    tokens = torch.randn(2, 197, 768, dtype=torch.float64)
    pooled = pooling.published(tokens)
    assert pooled.shape == (2, 24, 383)
    for slot in (0, 7, 23):
        for channel in (0, 100, 382):
            block = tokens[1, 8 * slot : 8 * slot + 8, 2 * channel : 2 * channel + 3]
            assert pooled[1, slot, channel].item() == pytest.approx(block.mean().item(), abs=1e-12)


def test_grid_averages_cells_row_by_row():
    picture = torch.randn(2, 5, 6, 9, dtype=torch.float64)
    pooled = pooling.grid(picture, 9)
    assert pooled.shape == (2, 9, 5)
    for row in range(3):
        for column in range(3):
            cell = picture[:, :, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3].mean(dim=(2, 3))
            assert torch.allclose(pooled[:, 3 * row + column], cell)


def test_grid_of_seven_by_seven_uses_every_position():
    picture = torch.zeros(1, 1, 7, 7)
    picture[0, 0, 3, 3] = 1
    assert pooling.grid(picture, 9)[0, :, 0].argmax() == 4
    with pytest.raises(ValueError, match="not a square"):
        pooling.grid(picture, 8)


def test_average_channels():
    tokens = torch.randn(2, 3, 12)
    assert torch.allclose(pooling.average_channels(tokens, 4), tokens.view(2, 3, 4, 3).mean(-1), atol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_fit_tokens_crops_or_pads(count):
    tokens = torch.randn(2, 3, 4)
    fitted, mask = pooling.fit_tokens(tokens, count)
    assert fitted.shape == (2, count, 4)
    assert torch.equal(fitted[:, :3], tokens[:, :count])
    assert not fitted[:, 3:].any()
    assert mask.tolist() == [slot < 3 for slot in range(count)]


def test_pca_keeps_distances_when_nothing_is_lost():
    generator = np.random.default_rng(0)
    values = (generator.normal(size=(30, 2, 3)) @ generator.normal(size=(3, 10))).astype(np.float16)
    mask = generator.random((30, 2)) < 0.8
    values[~mask] = 0
    pca = pooling.TokenPca(values, mask, 3, sample=10_000)
    reduced = pca(values, mask)
    assert reduced.shape == (30, 2, 3) and pca.explained == pytest.approx(1, abs=1e-3)
    assert not reduced[~mask].any()
    before, after = values[mask].astype(np.float64), reduced[mask]
    wanted = np.linalg.norm(before[:, None] - before[None], axis=-1)
    assert np.allclose(np.linalg.norm(after[:, None] - after[None], axis=-1), wanted, atol=0.05)


def test_pca_is_no_wider_than_it_has_tokens_and_takes_a_sample():
    values, mask = np.random.default_rng(0).normal(size=(50, 2, 40)), np.ones((50, 2), dtype=bool)
    assert pooling.TokenPca(values[:5], mask[:5], 32, sample=1000).width == 10
    assert pooling.TokenPca(values, mask, 32, sample=20).width == 20


@pytest.mark.parametrize(("tokens", "sample"), [(1, 1000), (50, 1)])
def test_pca_of_one_token_is_refused(tokens, sample):
    values, mask = np.random.default_rng(0).normal(size=(tokens, 1, 40)), np.ones((tokens, 1), dtype=bool)
    with pytest.raises(UserError, match="--image-reduction pca: needs two tokens or more to fit on; give"):
        pooling.TokenPca(values, mask, 32, sample)
