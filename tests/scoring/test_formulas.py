"""Each built-in scoring function against its paper's formula in plain Python."""

import cmath
import math

import pytest
import torch

from mmrns.plugins import choices
from mmrns.scoring import ScoringFunction

DIM, GAMMA = 4, 6.0


def complex_numbers(values):
    half = len(values) // 2
    return [complex(real, imaginary) for real, imaginary in zip(values[:half], values[half:], strict=True)]


def transe(h, r, t, p=1):
    return GAMMA - sum(abs(hi + ri - ti) ** p for hi, ri, ti in zip(h, r, t, strict=True)) ** (1 / p)


def transe_euclidean(h, r, t):
    return transe(h, r, t, p=2)


def distmult(h, r, t):
    return sum(hi * ri * ti for hi, ri, ti in zip(h, r, t, strict=True))


def complex_(h, r, t):
    h, r, t = (complex_numbers(values) for values in (h, r, t))
    return sum(hi * ri * ti.conjugate() for hi, ri, ti in zip(h, r, t, strict=True)).real


def rotate(h, r, t):
    h, t = complex_numbers(h), complex_numbers(t)
    # Relation parameters in ± the initial range are phases in ± pi.
    phases = [ri * math.pi / ((GAMMA + 2) / DIM) for ri in r]
    return GAMMA - sum(abs(hi * cmath.exp(1j * phase) - ti) for hi, phase, ti in zip(h, phases, t, strict=True))


def pairre(h, r, t):
    def unit(values):
        length = math.sqrt(sum(value * value for value in values))
        return [value / length for value in values]

    parts = zip(unit(h), r[:DIM], unit(t), r[DIM:], strict=True)
    return GAMMA - sum(abs(hi * rh - ti * rt) for hi, rh, ti, rt in parts)


def rescal(h, r, t, block=4):
    """Number j of block i is number i of the j-th DIM; row j of its matrix is likewise the j-th (block * DIM)."""
    total = 0.0
    for i in range(DIM):
        for row in range(block):
            for column in range(block):
                total += t[row * DIM + i] * r[(row * block + column) * DIM + i] * h[column * DIM + i]
    return total


def rescal_in_threes(h, r, t):
    return rescal(h, r, t, block=3)


@pytest.mark.parametrize(
    ("name", "options", "formula"),
    [
        ("transe", {}, transe),
        ("transe", {"p": 2}, transe_euclidean),
        ("distmult", {}, distmult),
        ("complex", {}, complex_),
        ("rotate", {}, rotate),
        ("pairre", {}, pairre),
        ("rescal", {}, rescal),
        ("rescal", {"block": 3}, rescal_in_threes),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_score_is_the_papers_formula(name, options, formula, seed):
    scoring = choices("mmrns.scoring", ScoringFunction)[name](DIM, GAMMA, **options)
    generator = torch.Generator().manual_seed(seed)
    h, r, t = (
        torch.randn(numbers * DIM, generator=generator, dtype=torch.float64)
        for numbers in (scoring.entity_numbers, scoring.relation_numbers, scoring.entity_numbers)
    )
    assert scoring.score(h, r, t).item() == pytest.approx(formula(h.tolist(), r.tolist(), t.tolist()), abs=1e-9)


def test_a_rotation_by_the_true_phase_reaches_gamma():
    scoring = choices("mmrns.scoring", ScoringFunction)["rotate"](1, GAMMA)
    quarter = torch.tensor([scoring.initial_range / 2])  # a phase of pi / 2
    one, i = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert scoring.score(one, quarter, i).item() == pytest.approx(GAMMA, abs=1e-6)
    assert scoring.score(i, quarter, one).item() == pytest.approx(GAMMA - 2, abs=1e-6)


def test_rescal_holds_distmult_and_complex():
    functions = choices("mmrns.scoring", ScoringFunction)
    generator = torch.Generator().manual_seed(0)
    h, r, t = (torch.randn(3, 2 * DIM, generator=generator, dtype=torch.float64) for _ in range(3))
    single = functions["rescal"](2 * DIM, GAMMA, block=1)
    torch.testing.assert_close(single.score(h, r, t), functions["distmult"](2 * DIM, GAMMA).score(h, r, t))
    real, imaginary = r.chunk(2, dim=-1)
    turning = torch.cat([real, -imaginary, imaginary, real], dim=-1)
    pairs = functions["rescal"](DIM, GAMMA, block=2)
    torch.testing.assert_close(pairs.score(h, turning, t), functions["complex"](DIM, GAMMA).score(h, r, t))


def test_any_norm_can_be_chosen():
    scoring = choices("mmrns.scoring", ScoringFunction)["transe"](2, GAMMA, p=3)
    zero, away = torch.zeros(2), torch.tensor([1.0, 2.0])
    assert scoring.score(zero, zero, away).item() == pytest.approx(GAMMA - 9 ** (1 / 3), abs=1e-6)
