"""Embedding quality: alignment and uniformity, collapse, relatedness, categories, retrieval, each beside random."""

from typing import TYPE_CHECKING, Any

from mmrns.analysis.result import Analysis, Hardness, Map, Measure, Moment, Options, Picture, Retrieval, SpaceQuality

if TYPE_CHECKING:
    from mmrns.analysis.analyzer import analyze as analyze

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


def __getattr__(name: str) -> Any:
    # Imported when first used: the flags of the command are read from Options, and --help stays quick.
    if name != "analyze":
        raise AttributeError(f"module 'mmrns.analysis' has no attribute {name!r}")
    from mmrns.analysis.analyzer import analyze

    return analyze
