"""Structure alone."""

from torch import Tensor

from mmrns.encoders.base import EntityEncoder


class Lookup(EntityEncoder):
    """An entity's vector is its row of the trained table."""

    takes_sparse = True
    takes_dropout = True

    def everything(self) -> Tensor:
        return self.whole_table()

    def forward(self, rows: Tensor) -> Tensor:
        return self.table_rows(rows)
