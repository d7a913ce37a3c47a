"""A user's scoring function that uses the global random generator."""

from torch import nn

from mmrns.scoring.base import ScoringFunction


class Dropping(ScoringFunction):
    """DistMult with dropout."""

    def __init__(self, dim, gamma):
        super().__init__(dim, gamma)
        self.dropout = nn.Dropout(0.3)

    def score(self, head, relation, tail):
        return (self.dropout(head * relation) * tail).sum(-1)
