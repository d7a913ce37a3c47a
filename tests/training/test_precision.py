"""--precision auto, which a processor without bf16 must not take for bf16."""

import pytest
import torch

from mmrns.config import Config
from mmrns.experiments.cells import differences
from mmrns.training.loop import train
from mmrns.training.precision import settle_precision
from mmrns.training.run_folder import RunFolder


@pytest.fixture
def capable(monkeypatch):
    """Sets what the processor is said to have."""

    def having(**capabilities: bool) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)

    return having


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, "no"),
        ({"avx512_bf16": True}, "bf16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16"),
        ({}, "no"),
    ],
)
def test_auto_is_bf16_where_the_processor_has_it(capable, capabilities, expected):
    capable(**capabilities)
    assert settle_precision(Config(precision="auto", device="cpu")).precision == expected


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_precision_that_is_given_stays(capable, precision):
    capable()
    assert settle_precision(Config(precision=precision, device="cpu")).precision == precision


@pytest.mark.parametrize("has_it", [True, False])
def test_a_run_keeps_what_auto_came_to_be_and_counts_as_a_run_of_its_cell(capable, tiny_graph, tmp_path, has_it):
    capable(avx512_bf16=has_it)
    config = Config(
        dataset=str(tiny_graph), output=str(tmp_path / "run"), device="cpu", precision="auto",
        objective="1vsall", model="complex", dim=8, steps=2, batch_size=8, sampler="uniform",
    )  # fmt: skip
    train(config)
    kept = RunFolder(tmp_path / "run").read_config()
    assert kept.precision == ("bf16" if has_it else "no")
    assert differences(kept.model_dump(), config) == []
