"""The precision that encoders work in."""

import contextlib
from collections.abc import Iterator

import torch

from mmrns.features.options import ExtractOptions

_TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def precision(options: ExtractOptions, device: torch.device) -> torch.dtype | None:
    """What --precision means on `device`: None is single precision.

    auto: bf16 on GPUs that have it, else fp16; single on a CPU.
    """
    if options.precision != "auto":
        return _TYPES[options.precision]
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


@contextlib.contextmanager
def autocast(device: torch.device, dtype: torch.dtype | None) -> Iterator[None]:
    """Let torch choose operations that are done in `dtype`; None: none, and all is in single precision.

    By torch's default a GPU rounds what convolutions multiply to TF32, 10 bits of mantissa; not so with None.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before and dtype is not None
    try:
        with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
