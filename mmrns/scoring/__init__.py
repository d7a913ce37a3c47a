"""One file a scoring function, and the model that holds a graph's embeddings for it."""

from mmrns.scoring.base import ScoringFunction
from mmrns.scoring.ensemble import Ensemble, Ranker
from mmrns.scoring.feature_similarity import FeatureSimilarity
from mmrns.scoring.model import KnowledgeGraphModel, build_model, model_of

__all__ = [
    "Ensemble",
    "FeatureSimilarity",
    "KnowledgeGraphModel",
    "Ranker",
    "ScoringFunction",
    "build_model",
    "model_of",
]
