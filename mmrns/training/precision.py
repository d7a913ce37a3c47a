"""Mixed precision, decided for the machine that trains."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from mmrns.config import Config
from mmrns.errors import UserError
from mmrns.processes import on_cpu

_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")


def settle_precision(config: Config) -> Config:
    """--precision auto, decided: bf16 where the device multiplies matrices in it, else no.

    A processor without such instructions takes several times as long over bf16 as over single precision (measured on
    AVX2: 4.6 times for 1000 x 2000 by 2000 x 12842, one thread).

    Raises:
        UserError: fp16 on a CPU, where accelerate would leave it out without a word.
    """
    if config.precision == "fp16" and on_cpu(config.device):
        raise UserError("--precision fp16: is for a GPU; give bf16, auto or no on a CPU")
    if config.precision != "auto":
        return config
    if on_cpu(config.device):
        # An older torch does not say; single precision is then the safe guess.
        known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        has_it = any(known.get(name, False) for name in _INSTRUCTIONS)
    else:
        has_it = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return config.model_copy(update={"precision": "bf16" if has_it else "no"})


def autocast_to(config: Config) -> str:
    """What accelerate is to cast to: --precision, but for tf32, which casts nothing."""
    return "no" if config.precision == "tf32" else config.precision


@contextlib.contextmanager
def products_of(config: Config) -> Iterator[None]:
    """With --precision tf32, let a GPU round what matrix products multiply to TF32, 10 bits of mantissa, and restore.

    Sums stay in single precision. On a CPU it changes nothing.
    """
    if config.precision != "tf32":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
