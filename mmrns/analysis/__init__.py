"""Embedding quality: alignment and uniformity, collapse, relatedness, categories, retrieval, each beside random."""

from mmrns.analysis.analyzer import analyze
from mmrns.analysis.result import Analysis, Hardness, Map, Measure, Moment, Options, Picture, Retrieval, SpaceQuality

__all__ = [
    "Analysis",
    "Hardness",
    "Map",
    "Measure",
    "Moment",
    "Options",
    "Picture",
    "Retrieval",
    "SpaceQuality",
    "analyze",
]
