"""Why a triple ranks where it does: its hard negatives, what the attention looked at, and what stands above it."""

from mmrns.explanation.explainer import Explainer, explain
from mmrns.explanation.result import Attention, Explanation, Negative, Sampling, Shown, Side

__all__ = ["Attention", "Explainer", "Explanation", "Negative", "Sampling", "Shown", "Side", "explain"]
