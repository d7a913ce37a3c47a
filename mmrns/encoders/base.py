"""What an entity encoder is: vectors of some entities, or of all, from a trained table and what else it knows."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrns.errors import UserError
from mmrns.features import FeatureStore
from mmrns.memory import huge_pages
from mmrns.plugins import find, not_made

INPUT = "input_"
"""Buffers of this prefix hold an encoder's features, so that a checkpoint is enough to predict with."""


class EntityEncoder(nn.Module, ABC):
    """Vectors of the entities. A subclass writes `everything`, and `forward` where some rows come cheaper than all.

    Attributes:
        width: of a vector.
        table: (E, width) the trained part; read it through `whole_table` or `table_rows`.
        unknown, shown: see `drop_entities`, which makes them: (width,) and (E,).
    """

    uses_features: ClassVar[bool] = False
    """Features are kept as buffers `input_<modality>` (E, D) and asked for at construction."""
    takes_sparse: ClassVar[bool] = False
    """`forward` reads the table through `table_rows` alone, so that `sparse` may be set."""
    sparse: bool = False
    """The table's gradient is a sparse tensor of the rows that were looked up."""
    takes_dropout: ClassVar[bool] = False
    """The table is read through `whole_table` and `table_rows` alone, so that `drop_entities` may be called."""
    dropout: float = 0.0
    unknown: nn.Parameter
    shown: Tensor

    def __init__(
        self, num_entities: int, width: int, initial_range: float, inputs: Mapping[str, Tensor] | None = None
    ) -> None:
        """Start the table uniform in ± initial_range.

        Args:
            inputs: modality -> (E, D) feature vectors, zero where an entity lacks the modality.
        """
        super().__init__()
        self.width, self._initial_range = width, initial_range
        table = huge_pages(torch.empty(num_entities, width))
        self.table = nn.Parameter(table.uniform_(-initial_range, initial_range))
        if self.uses_features and not inputs:
            raise ValueError("the dataset has no features to use: run mmrns extract first")
        for name, vectors in (inputs or {}).items() if self.uses_features else ():
            self.register_buffer(INPUT + name, vectors)

    @property
    def inputs(self) -> dict[str, Tensor]:
        """Modality -> (E, D) feature vectors."""
        return {name.removeprefix(INPUT): b for name, b in self.named_buffers(recurse=False) if name.startswith(INPUT)}

    @abstractmethod
    def everything(self) -> Tensor:
        """Vectors of all entities: (E, width)."""

    def forward(self, rows: Tensor) -> Tensor:
        """Vectors of entity rows (...): (..., width)."""
        # F.embedding, not indexing: its backward is several times faster on CPU.
        return F.embedding(rows, self.everything())

    def drop_entities(self, share: float) -> None:
        """Let a step take this share of entities, drawn anew each time, for ones that train does not show.

        These have one trained vector, common to all, in the place of their row, and so have, always, those that
        `shown` leaves out: what else the encoder knows of an entity must do, and is trained to (DropoutNet: Volkovs et
        al., NeurIPS 2017). Without it the rows of entities that train does not show are where negatives pushed them.
        """
        self.dropout = share
        # As a row of the table starts: at zero, norms and cosines would have gradients without bound.
        self.unknown = nn.Parameter(torch.empty(self.width).uniform_(-self._initial_range, self._initial_range))
        self.register_buffer("shown", torch.ones(len(self.table), dtype=torch.bool))

    def whole_table(self) -> Tensor:
        """The table, (E, width)."""
        return self._without_dropped(self.table, self.shown) if self.dropout else self.table

    def table_rows(self, rows: Tensor) -> Tensor:
        """Rows (...) of the table: (..., width)."""
        vectors = F.embedding(rows, self.table, sparse=self.sparse)
        return self._without_dropped(vectors, self.shown[rows]) if self.dropout else vectors

    def _without_dropped(self, vectors: Tensor, own: Tensor) -> Tensor:
        """Vectors (..., width) where `own` (...) says so and the draw does not say otherwise."""
        if self.training:
            own = own & (torch.rand(own.shape, device=own.device) >= self.dropout)
        return torch.where(own[..., None], vectors, self.unknown)

    def gathered(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (U, width) that hold those of entity rows (...), each once, and the places (...) of the rows there.

        Where the rows are as many as the entities, all vectors as they are; else those of the distinct rows, so that
        nothing grows with the graph. Finding the distinct ones waits for a GPU: this is for the CPU.
        """
        if rows.numel() >= len(self.table) and not self.sparse:
            return self.everything(), rows
        distinct, places = torch.unique(rows, return_inverse=True)
        return self(distinct), places


def entity_inputs(features: FeatureStore | None, encoder: str) -> dict[str, Tensor]:
    """What an encoder is given of the features: modality -> (E, D) float32, the mean of each entity's present tokens.

    Zero where an entity has none. Nothing is read for an encoder that takes no features.

    Args:
        features: of the dataset; None: it has none.
        encoder: a choice of `mmrns list encoders`, or module:Class.
    """
    encoder_class: type[EntityEncoder] = find("--encoder", encoder, "mmrns.encoders", EntityEncoder)
    if not features or not encoder_class.uses_features:
        return {}
    return {name: features.mean_tokens(name) for name in features.modalities}


def build_encoder(
    name: str,
    num_entities: int,
    width: int,
    initial_range: float,
    inputs: Mapping[str, Tensor] | None = None,
    options: dict[str, Any] | None = None,
    dropout: float = 0.0,
) -> EntityEncoder:
    """A freshly initialised encoder.

    Args:
        name: a choice of `mmrns list encoders`, or module:Class.
        options: keyword arguments of the encoder's own.
        dropout: see `EntityEncoder.drop_entities`.

    Raises:
        UserError: unknown name, options or a dropout that it does not take, or features that are missing.
    """
    encoder_class = find("--encoder", name, "mmrns.encoders", EntityEncoder)
    try:
        encoder: EntityEncoder = encoder_class(num_entities, width, initial_range, inputs, **(options or {}))
    except TypeError as error:
        raise not_made("--encoder", name, options, error) from error
    except ValueError as error:
        raise UserError(f"--encoder {name}: {error}") from error
    if dropout:
        if not encoder.takes_dropout:
            raise UserError(f"--entity-dropout {dropout}: --encoder {name} cannot; see takes_dropout in mmrns.encoders")
        encoder.drop_entities(dropout)
    return encoder
