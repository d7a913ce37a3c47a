"""Several models of one graph, and the likeness of features, that answer as one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmrns.scoring.feature_similarity import FeatureSimilarity
from mmrns.scoring.model import KnowledgeGraphModel

Member = KnowledgeGraphModel | FeatureSimilarity


class Ensemble(nn.Module):
    """sum_m w_m (s_m(q, e) - mean_e s_m(q, .)) / std_e s_m(q, .), s_m the m-th model's score of e as an answer of q.

    Scores are standardised query by query, over all entities, because those of different scoring functions have neither
    a scale nor a zero in common. A query to which a member gives equal scores alone is left to the others.
    """

    def __init__(self, members: Sequence[Member], weights: Sequence[float]) -> None:
        """One positive weight a member."""
        super().__init__()
        self.members = nn.ModuleList(members)
        self.weights = tuple(weights)
        self.entities = _Encoders(members)

    def score_all(
        self, anchor: Tensor, relation: Tensor, direction: int, everything: list[Tensor] | None = None
    ) -> Tensor:
        """Score every entity as the answer of B queries: (B, E). Arguments as in `KnowledgeGraphModel.score_all`."""
        total = torch.zeros(())
        for member, weight, vectors in zip(
            self.members, self.weights, everything or self.entities.everything(), strict=True
        ):
            assert isinstance(member, Member)
            scores = member.score_all(anchor, relation, direction, vectors).float()
            deviation, mean = torch.std_mean(scores, dim=1, correction=0, keepdim=True)
            total = total.to(scores) + weight * (scores - mean) / deviation.clamp_min(torch.finfo(scores.dtype).tiny)
        return total


class _Encoders:
    """The members' encoders, asked together."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members

    def everything(self) -> list[Tensor]:
        """Of each member, the vectors of all entities."""
        return [member.entities.everything() for member in self._members]


Ranker = KnowledgeGraphModel | Ensemble
"""What scores all entities as answers: one model, or several as one."""
