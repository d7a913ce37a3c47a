"""Filtered ranking over all entities, its metrics and breakdowns."""

from mmrns.evaluation.breakdowns import evaluate_split
from mmrns.evaluation.metrics import ranking_metrics
from mmrns.evaluation.ranking import Ranks, rank_triples

__all__ = ["Ranks", "evaluate_split", "rank_triples", "ranking_metrics"]
