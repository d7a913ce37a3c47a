"""Image backbones by their timm name: building, weights, transforms, and where the tokens are in their output."""

import ast
import difflib
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor

from mmrns.errors import UserError
from mmrns.features.digests import model_sha256
from mmrns.features.hub import weights_from_hub
from mmrns.features.options import ExtractOptions
from mmrns.features.precision import autocast, precision
from mmrns.features.weights import find_weights, is_efficientnet_lite, map_efficientnet_lite, read_state

_MEND = "--image-weights FILE or --image-weights package:NAME (--image-encoder none leaves images out)"


@dataclass(frozen=True)
class Backbone:
    """A frozen image encoder.

    Attributes:
        model: timm model in evaluation mode, classifier included.
        transform: from a PIL image in RGB to pixels (3, H, W) uint8, resized and cropped as the model was trained.
        mean, std: of the pixels 0 to 255, (3, 1, 1), on the model's device.
        source: manifest fields that say which model and weights these are.
        precision: that the model works in (autocast); None: single.
    """

    model: torch.nn.Module
    transform: Any
    mean: Tensor
    std: Tensor
    source: dict[str, Any]
    precision: torch.dtype | None = None

    def features(self, pixels: Tensor) -> Tensor:
        """Last features of B pictures (B, 3, H, W) uint8: tokens (B, N, C), or a map (B, C, H, W); fp32."""
        # Pixels in pinned memory are fetched while the program goes on.
        images = pixels.to(self.mean.device, non_blocking=True)
        # Channels last halves the time of convolutions on a CPU, and is what GPUs like.
        images = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with autocast(self.mean.device, self.precision):
            output = self.model.forward_features(images)  # type: ignore[operator]  # every timm model has it
        if not isinstance(output, Tensor) or output.ndim not in (3, 4):
            raise UserError(f"--image-encoder {self.source['encoder']}: gives neither tokens nor a map; choose another")
        # timm's Swin and its kin keep channels last, and say so.
        if output.ndim == 4 and str(getattr(self.model, "output_fmt", "NCHW")).endswith("NHWC"):
            output = output.permute(0, 3, 1, 2)
        return output.float()

    def as_map(self, features: Tensor) -> Tensor:
        """Features as a map (B, C, H, W): class and other prefix tokens are left out of token sequences."""
        if features.ndim == 4:
            return features
        patches = features[:, int(getattr(self.model, "num_prefix_tokens", 0)) :]
        count = patches.shape[1]
        size = getattr(getattr(self.model, "patch_embed", None), "grid_size", None) or (round(count**0.5),) * 2
        if size[0] * size[1] != count:
            raise UserError(
                f"--image-pooling grid: {count} tokens of {self.source['encoder']} are no rectangle; "
                "give --image-pooling none or published"
            )
        return patches.transpose(1, 2).unflatten(2, size)

    @staticmethod
    def as_tokens(features: Tensor) -> Tensor:
        """Features as a token sequence (B, N, C): maps row by row."""
        return features if features.ndim == 3 else features.flatten(2).transpose(1, 2)


def load_backbone(options: ExtractOptions, device: torch.device) -> Backbone:
    """The image encoder that the options ask for, with its weights, on `device`.

    Raises UserError that names the flag: unknown model, weights that do not fit it or cannot be read, or no hub.
    """
    name, extra = options.image_encoder, model_options(options.image_model_options)
    if ":" not in name and not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise UserError(
            f"--image-encoder {name}: timm has no such model; "
            + (f"did you mean {', '.join(near)}?" if near else "see timm.list_models()")
        )
    source: dict[str, Any] = {"encoder": name}
    if options.image_model_options:
        source["model_options"] = list(options.image_model_options)
    if options.image_weights:
        weights = find_weights(options.image_weights, "--image-weights")
        source["weights"] = weights.describe()
        model = _with_state(name, extra, read_state(weights.path, "--image-weights"), str(weights.path))
    else:
        with weights_from_hub(f"--image-encoder {name}", _MEND):
            model = _create(name, extra, pretrained=True)
        config = model.pretrained_cfg
        source["revision"] = {"hub": config.get("hf_hub_id") or config.get("url"), "sha256": model_sha256(model)}
    model.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
    config = resolve_model_data_config(model, args={key: extra[key] for key in ("img_size",) if key in extra})
    if options.image_crop is not None:
        config["crop_pct"] = options.image_crop
    source["preprocessing"] = {
        key: list(value) if isinstance(value, tuple) else value for key, value in sorted(config.items())
    }
    mean, std = (torch.tensor(config[key], device=device).view(3, 1, 1) * 255 for key in ("mean", "std"))
    # use_prefetcher: timm then leaves the normalisation, which is one step for a batch, to `features`.
    chosen = precision(options, device)
    if chosen is not None:
        source["precision"] = str(chosen).removeprefix("torch.")
    return Backbone(model, create_transform(**config, use_prefetcher=True), mean, std, source, chosen)


def model_options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """KEY=VALUE pairs as arguments; values are Python literals (numbers, True, tuples), else texts."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UserError(f"--image-model-options {pair}: must be KEY=VALUE, such as img_size=384")
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found


def _create(name: str, extra: dict[str, Any], **more: Any) -> Any:
    try:
        return timm.create_model(name, **extra, **more)
    except (TypeError, AssertionError) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"--image-model-options {' '.join(map(str, extra))}: {name} refuses them ({reason})") from error


def _with_state(name: str, extra: dict[str, Any], state: dict[str, Tensor], path: str) -> torch.nn.Module:
    """The model with these weights, every tensor of which must have its place and its shape."""
    with torch.device("meta"):
        config = _create(name, extra, pretrained=False).pretrained_cfg
    classes = config.get("num_classes", 1000)
    heads = config.get("classifier") or ()
    for head in (heads,) if isinstance(heads, str) else heads:
        found = state.get(f"{head}.weight")
        # Weights without a classifier, or with another number of classes, are as good for features.
        classes = 0 if found is None else int(found.shape[0])
    if is_efficientnet_lite(state):
        classes = int(state["_fc.weight"].shape[0]) if "_fc.weight" in state else 0
    extra = {"num_classes": classes, **extra}
    try:
        if is_efficientnet_lite(state):
            with torch.device("meta"):
                reference = _create(name, extra, pretrained=False).state_dict()
            state = map_efficientnet_lite(state, reference)
        # timm treats an overlay like downloaded weights: it converts older layouts, and then loads strictly as long
        # as the number of classes is the one that the overlay declares.
        overlay = {"state_dict": state, "num_classes": extra["num_classes"], "label_offset": 0, "custom_load": False}
        return _create(name, extra, pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, ValueError, KeyError, IndexError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"--image-weights {path}: does not fit --image-encoder {name} ({reason})") from error
