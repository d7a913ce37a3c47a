"""Mixed precision, decided for the machine that trains."""

from typing import Any

import torch

from mmrns.config import Config
from mmrns.processes import on_cpu

_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")


def settle_precision(config: Config) -> Config:
    """--precision auto, decided: bf16 where the device multiplies matrices in it, else no.

    A processor without such instructions takes several times as long over bf16 as over single precision (measured on
    AVX2: 4.6 times for 1000 x 2000 by 2000 x 12842, one thread).
    """
    if config.precision != "auto":
        return config
    if on_cpu(config.device):
        # An older torch does not say; single precision is then the safe guess.
        known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        has_it = any(known.get(name, False) for name in _INSTRUCTIONS)
    else:
        has_it = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return config.model_copy(update={"precision": "bf16" if has_it else "no"})
