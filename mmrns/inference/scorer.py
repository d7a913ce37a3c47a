"""A model's scores as ONNX, to run without mmrns or torch."""

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrns.errors import UserError
from mmrns.graph.answers import HEAD, TAIL
from mmrns.inference.trained import TrainedModel
from mmrns.scoring import KnowledgeGraphModel
from mmrns.scoring.kernels import PRODUCT

SCORERS = {"heads.onnx": HEAD, "tails.onnx": TAIL}
"""Files of an ONNX export: one scores every entity as head of (?, relation, anchor), one as tail."""

_OPSET = 18
# A protobuf, which a .onnx file is, cannot be larger.
_MOST_BYTES = 2**31


class Scorer(nn.Module):
    """Scores of all entities as answers of questions in one direction: anchors (B,), relations (B,) -> (B, E)."""

    def __init__(self, model: KnowledgeGraphModel, direction: int) -> None:
        super().__init__()
        self.model, self.direction = model, direction
        self.register_buffer("everything", model.entities.everything().detach())

    def forward(self, anchor: Tensor, relation: Tensor) -> Tensor:
        """One product or one broadcast `score`, without the blocks of `score_all`, whose number would depend on B."""
        rows, direction = self.model.posed(relation, self.direction)
        everything, scoring = self.get_buffer("everything"), self.model.scoring
        anchors, relations = F.embedding(anchor, everything), self.model.relations(rows)
        if scoring.comparison is PRODUCT:
            return scoring.query(anchors, relations, direction) @ scoring.candidate(everything).T
        return scoring.score_answers(anchors[:, None], relations[:, None], everything, direction)


def write_onnx(trained: TrainedModel, folder: Path) -> None:
    """heads.onnx and tails.onnx: int64 "anchor" (B,) and "relation" (B,) to float32 "scores" (B, E).

    Raises:
        UserError: no onnx package, a model of over 2 GB, or an operation that ONNX does not have.
    """
    if importlib.util.find_spec("onnx") is None:
        raise UserError("--format onnx: needs the onnx package; run: pip install onnx onnxruntime")
    if sum(4 * tensor.numel() for tensor in trained.model.state_dict().values()) > _MOST_BYTES:
        raise UserError("--format onnx: the model is larger than the 2 GB that an ONNX file holds; use --format npy")
    example = torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    for name, direction in SCORERS.items():
        try:
            with torch.no_grad(), _quiet():
                # The older of torch's exporters: the newer one would need the onnxscript package, and knows no more.
                torch.onnx.register_custom_op_symbolic("aten::hypot", _hypot, _OPSET)
                torch.onnx.export(
                    Scorer(trained.model, direction),
                    example,
                    str(folder / name),
                    input_names=["anchor", "relation"],
                    output_names=["scores"],
                    dynamo=False,
                    opset_version=_OPSET,
                    do_constant_folding=False,  # it would store parts of the entity table once more
                    dynamic_axes={part: {0: "questions"} for part in ("anchor", "relation", "scores")},
                )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise UserError(f"--format onnx: {trained.config.model} cannot be exported ({reason})") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes that it is the older one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _hypot(graph: Any, left: Any, right: Any) -> Any:
    """sqrt(left² + right²), which ONNX has no operation of its own for."""
    return graph.op("Sqrt", graph.op("Add", graph.op("Mul", left, left), graph.op("Mul", right, right)))
