"""One file a sampler, and the parts of MMRNS: attention, similarity, Gumbel draws."""

from mmrns.negatives.base import Negatives, NegativeSampler, build_sampler

__all__ = ["NegativeSampler", "Negatives", "build_sampler"]
