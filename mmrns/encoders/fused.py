"""Structure, pictures and texts added up."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from mmrns.encoders.base import EntityEncoder


class Fused(EntityEncoder):
    """table_e + sum_m W_m x_m(e), x_m the entity's mean feature vector in modality m.

    The linear maps also reach entities that train never shows, which a table leaves where they started. Features are
    centred over the entities that have them, and brought to the length `scale`: adaptive optimisers move every weight
    alike, so it decides how fast the maps learn beside the table.
    """

    uses_features = True
    takes_sparse = True
    takes_dropout = True

    def __init__(
        self,
        num_entities: int,
        width: int,
        initial_range: float,
        inputs: Mapping[str, Tensor] | None = None,
        scale: float = 0.25,
    ) -> None:
        if not scale > 0:
            raise ValueError(f"scale {scale} is not above 0")
        super().__init__(num_entities, width, initial_range, _prepared(inputs or {}, scale))
        self.project = nn.ModuleDict()
        for name, vectors in self.inputs.items():
            linear = nn.Linear(vectors.shape[1], width, bias=False)
            nn.init.normal_(linear.weight, std=initial_range / scale)
            self.project[name] = linear

    def everything(self) -> Tensor:
        return self._added(self.whole_table(), self.inputs)

    def forward(self, rows: Tensor) -> Tensor:
        if rows.numel() >= len(self.table) and not self.sparse:
            return super().forward(rows)
        return self._added(self.table_rows(rows), {m: F.embedding(rows, x) for m, x in self.inputs.items()})

    def _added(self, vectors: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        for name, features in inputs.items():
            vectors = vectors + self.project[name](features)
        return vectors


def _prepared(inputs: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    prepared = {}
    for name, vectors in inputs.items():
        present = vectors.any(1, keepdim=True)
        centred = (vectors - vectors.sum(0) / present.sum().clamp_min(1)) * present
        prepared[name] = scale * F.normalize(centred, dim=1)
    return prepared
