"""--precision auto, which a processor without bf16 must not take for bf16."""

import pytest
import torch

from mmrns.config import Config
from mmrns.errors import UserError
from mmrns.experiments.cells import differences
from mmrns.training import loop
from mmrns.training.all_entities import AllEntitiesObjective
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


def test_fp16_on_a_cpu_is_refused(capable):
    capable()
    with pytest.raises(UserError, match=r"^--precision fp16: is for a GPU; give bf16, auto or no on a CPU$"):
        settle_precision(Config(precision="fp16", device="cpu"))


def test_tf32_is_for_the_products_of_steps_alone_and_changes_nothing_on_a_cpu(tiny_graph, tmp_path, monkeypatch):
    options = {"dataset": str(tiny_graph), "device": "cpu", "model": "complex", "objective": "1vsall", "dim": 8,
               "steps": 3, "batch_size": 8, "valid_every": 1}  # fmt: skip
    before, inside = torch.backends.cuda.matmul.allow_tf32, []
    allowed = lambda: torch.backends.cuda.matmul.allow_tf32  # noqa: E731
    forward, rank = AllEntitiesObjective.forward, loop.rank_triples
    monkeypatch.setattr(AllEntitiesObjective, "forward", lambda *a: inside.append(allowed()) or forward(*a))
    monkeypatch.setattr(loop, "rank_triples", lambda *a, **k: inside.append(("rank", allowed())) or rank(*a, **k))
    runs = {name: train(Config(**options, precision=name, output=str(tmp_path / name))) for name in ("no", "tf32")}
    assert inside[:6] == [before, ("rank", before)] * 3
    assert inside[6:] == [True, ("rank", before)] * 3
    assert allowed() == before
    assert runs["no"]["test"] == runs["tf32"]["test"]


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
