"""Draws without replacement: their law, their mask, and the gradient that passes through them."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mmrns.negatives.gumbel import gumbel_top_k, inclusion, straight_through
from tests import ways
from tests.negatives import reference


def test_ordered_pairs_follow_the_plackett_luce_law():
    p = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05])
    draws = 200_000
    generator = torch.Generator().manual_seed(0)
    _, drawn = gumbel_top_k(p.log().expand(draws, -1), 2, generator)
    counts, expected = [], []
    for first, second in itertools.permutations(range(5), 2):
        counts.append(int(((drawn[:, 0] == first) & (drawn[:, 1] == second)).sum()))
        expected.append(draws * float(p[first] * p[second] / (1 - p[first])))
    total = sum(expected)
    assert chisquare(counts, [value * draws / total for value in expected]).pvalue > 1e-3


def test_a_masked_candidate_is_never_drawn_in_a_million_draws():
    rows, candidates, number = 25_000, 60, 40
    generator = torch.Generator().manual_seed(1)
    log_p = torch.log_softmax(torch.randn(rows, candidates, generator=generator), dim=1)
    masked = torch.rand(rows, candidates, generator=generator) < 0.3
    masked[:, number + 2 :] = True  # leaves at most 42 and at least 20 or so: some rows run out
    log_p[:, 0] = 20.0
    masked[:, 0] = True  # by far the likeliest, and forbidden
    perturbed, drawn = gumbel_top_k(log_p.masked_fill(masked, -torch.inf), number, generator)
    assert drawn.numel() == 1_000_000
    valid = perturbed.gather(1, drawn) > -torch.inf
    assert not (masked.gather(1, drawn) & valid).any()
    assert (valid.sum(1) == (~masked).sum(1).clamp_max(number)).all(), "what can be drawn is drawn"


@settings(max_examples=40)
@given(
    seed=st.integers(0, 100_000),
    candidates=st.integers(1, 9),
    number=st.integers(1, 6),
    temperature=st.sampled_from([0.3, 1.0, 2.5]),
    masked=st.booleans(),
)
def test_straight_through_equals_successive_one_hot_draws(seed, candidates, number, temperature, masked):
    number = min(number, candidates - masked)
    if number < 1:
        return
    generator = torch.Generator().manual_seed(seed)
    rows, width = 3, 4
    log_p = torch.randn(rows, candidates, generator=generator, dtype=torch.float64)
    if masked:
        log_p[:, 0] = -torch.inf
    perturbed, drawn = gumbel_top_k(log_p, number, generator)
    perturbed.requires_grad_()
    vectors = torch.randn(candidates, width, generator=generator, dtype=torch.float64, requires_grad=True)
    probe = torch.randn(rows, number, width, generator=generator, dtype=torch.float64)

    def gradients(out):
        # A loss that is not linear, so that the forward value matters too.
        return torch.autograd.grad(((out * probe) ** 2).sum() + (out * probe).sum(), [perturbed, vectors])

    expected = torch.stack(
        [reference.successive_draws(perturbed[b], drawn[b], vectors, temperature) for b in range(rows)]
    )
    found = straight_through(perturbed, drawn, vectors, temperature, sign=1.0)
    torch.testing.assert_close(found, vectors[drawn], rtol=0, atol=0)
    torch.testing.assert_close(expected, found, rtol=1e-8, atol=1e-8)
    wanted_logits, wanted_vectors = gradients(expected)
    found_logits, found_vectors = gradients(found)
    torch.testing.assert_close(found_logits, wanted_logits, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found_vectors, wanted_vectors, rtol=1e-8, atol=1e-8)
    reversed_logits, _ = gradients(straight_through(perturbed, drawn, vectors, temperature, sign=-1.0))
    torch.testing.assert_close(reversed_logits, -found_logits)


@pytest.mark.parametrize("way", ["compiled", "torch", "three threads"])
def test_straight_through_in_single_precision_is_that_of_successive_draws(way, monkeypatch):
    ways.take(way, monkeypatch)
    generator = torch.Generator().manual_seed(3)
    log_p = torch.log_softmax(2 * torch.randn(7, 30, generator=generator), dim=1)
    perturbed, drawn = gumbel_top_k(log_p, 9, generator)
    vectors, probe = torch.randn(30, 11, generator=generator), torch.randn(7, 9, 11, generator=generator)

    def gradient(draw, dtype):
        logits = perturbed.to(dtype, copy=True).requires_grad_()
        (draw(logits, vectors.to(dtype)) * probe).sum().backward()
        return logits.grad

    def successive(logits, table):
        return torch.stack([reference.successive_draws(logits[b], drawn[b], table, 0.7) for b in range(7)])

    found = gradient(lambda logits, table: straight_through(logits, drawn, table, 0.7, sign=1.0), torch.float32)
    torch.testing.assert_close(found.double(), gradient(successive, torch.float64), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spread", [1.0, 60.0])
def test_gradient_stays_finite_when_the_distribution_is_sharp(spread):
    torch.manual_seed(0)
    log_p = (torch.randn(4, 50) * spread).requires_grad_()
    perturbed, drawn = gumbel_top_k(log_p, 49, torch.Generator().manual_seed(0))
    vectors = torch.randn(50, 8)
    straight_through(perturbed, drawn, vectors, 1.0, 1.0).square().sum().backward()
    assert log_p.grad is not None and log_p.grad.isfinite().all()


@pytest.mark.parametrize("number", [1, 4, 15])
def test_sums_weighed_by_inclusion_are_those_over_all_candidates(number):
    """Kool et al.'s estimator: unbiased for any p, however often a likely candidate would come with replacement."""
    generator = torch.Generator().manual_seed(2)
    log_p = torch.log_softmax(2 * torch.randn(20, generator=generator, dtype=torch.float64), dim=0)
    value = torch.rand(20, generator=generator, dtype=torch.float64)
    rows = log_p.expand(100_000, -1)
    perturbed, drawn = gumbel_top_k(rows, number, generator)
    weight = 1 / inclusion(rows, perturbed, drawn).exp()
    estimates = torch.zeros_like(rows).scatter_add(1, drawn, weight * value[drawn])
    error = (estimates.mean(0) - value).abs()  # of each candidate by itself, and so of any sum
    # The last part is for those nearly always drawn, whose rare absence few samples show.
    assert (error < 5 * estimates.std(0) / 100_000**0.5 + 1e-3 * value).all()
    with_replacement = torch.zeros_like(rows).scatter_add(1, drawn, value[drawn] / (number * log_p.exp()[drawn]))
    likeliest = log_p.argmax()
    wrong = (with_replacement.mean(0) - value)[likeliest].abs() / value[likeliest]
    assert wrong > 0.3 or number == 1


def test_what_is_drawn_for_lack_of_others_is_drawn_for_sure():
    log_p = torch.tensor([[0.0, -1.0, -torch.inf, -2.0], [0.0, -30.0, -1.0, -2.0]])
    perturbed, drawn = gumbel_top_k(log_p, 3, torch.Generator().manual_seed(0))
    found = inclusion(log_p, perturbed, drawn)
    assert found[0].tolist() == [0.0, 0.0, 0.0]
    assert torch.isfinite(found[1]).all() and (found[1] <= 0).all()
