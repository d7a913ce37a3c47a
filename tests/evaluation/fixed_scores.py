"""A model whose scores are given: (2, R, E, E) by direction, relation, anchor and answer."""

from types import SimpleNamespace

from torch import nn


class FixedScores(nn.Module):
    def __init__(self, scores):
        super().__init__()
        self.scores = scores
        self.entities = SimpleNamespace(everything=lambda: None)
        self.modes, self.batch_sizes = set(), []

    def score_all(self, anchor, relation, direction, everything=None):
        self.modes.add(self.training)
        self.batch_sizes.append(len(anchor))
        return self.scores[direction, relation, anchor]
