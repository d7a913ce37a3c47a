"""TransE (Bordes et al., NeurIPS 2013): a relation is a translation."""

from torch import Tensor

from mmrns.graph.answers import TAIL
from mmrns.scoring.base import ScoringFunction
from mmrns.scoring.kernels import EUCLIDEAN, MANHATTAN


class TransE(ScoringFunction):
    """gamma - ||h + r - t||_p, with p = 1 unless `--model-options '{"p": 2}'`."""

    def __init__(self, dim: int, gamma: float, p: float = 1) -> None:
        super().__init__(dim, gamma)
        if not p > 0:
            raise ValueError(f"p {p} is not above 0")
        self.p = float(p)
        self.comparison = {1.0: MANHATTAN, 2.0: EUCLIDEAN}.get(self.p)

    def score(self, head: Tensor, relation: Tensor, tail: Tensor) -> Tensor:
        return self.gamma - (head + relation - tail).norm(p=self.p, dim=-1)

    def query(self, anchor: Tensor, relation: Tensor, direction: int) -> Tensor:
        return anchor + relation if direction == TAIL else anchor - relation
