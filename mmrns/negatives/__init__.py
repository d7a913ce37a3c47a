"""One file a sampler, and the parts of MMRNS: attention, similarity, Gumbel draws."""

from mmrns.negatives.base import NegativeSampler, Negatives, build_sampler

__all__ = ["NegativeSampler", "Negatives", "build_sampler"]
