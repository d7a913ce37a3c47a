"""How alike two entities' features are, as a member of an ensemble: nothing is trained."""

import torch.nn.functional as F
from torch import Tensor, nn


class FeatureSimilarity(nn.Module):
    """cos(x_q, x_e) of the feature vectors of a query's entity and a candidate, whatever the relation.

    0 where either has no features, and of an entity with itself, which says nothing of an answer.
    """

    def __init__(self, vectors: Tensor) -> None:
        """Keep (E, D) feature vectors, zero where an entity has none."""
        super().__init__()
        self.register_buffer("unit", F.normalize(vectors.float(), dim=1))

    @property
    def entities(self) -> "FeatureSimilarity":
        """What gives the vectors of all entities, as of a model."""
        return self

    def everything(self) -> Tensor:
        """Unit feature vectors of all entities: (E, D)."""
        return self.get_buffer("unit")

    def score_all(self, anchor: Tensor, relation: Tensor, direction: int, everything: Tensor | None = None) -> Tensor:
        """Score every entity as the answer of B queries: (B, E). Arguments as in `KnowledgeGraphModel.score_all`."""
        everything = self.everything() if everything is None else everything
        cosines = F.embedding(anchor, everything) @ everything.T
        return cosines.scatter_(1, anchor[:, None], 0.0)
