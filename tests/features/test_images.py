"""Pictures: modes, faults, layouts of encoders, and several pictures an entity."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from mmrns.errors import UserError
from mmrns.features import FeatureStore
from mmrns.features.backbones import load_backbone
from mmrns.features.extract import extract
from mmrns.features.images import PictureError, read_picture
from mmrns.features.options import ExtractOptions
from tests.features.samples import noise_picture

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    """small_model(name, **options): options of an extraction with a small random model of timm's."""

    def make(name, **options):
        path = tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
        torch.manual_seed(0)
        save_file(timm.create_model(name).state_dict(), path)
        return {"image_encoder": name, "image_weights": str(path), "text_encoder": "none", **options}

    return make


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "I"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("picture.tif" if mode in ("CMYK", "I") else "picture.png")
    if mode.startswith("I"):
        Image.fromarray(np.full((8, 9), 128 * 256 + 7, dtype=np.uint16 if mode == "I;16" else np.int32)).save(path)
    else:
        noise_picture(path, seed=0, mode=mode, size=(9, 8))
    picture = read_picture(tmp_path, path.name)
    assert picture.mode == "RGB" and picture.size == (9, 8)
    if mode.startswith("I"):
        assert set(np.asarray(picture).ravel().tolist()) == {128}


def test_see_through_parts_are_white(tmp_path):
    pixels = np.zeros((2, 2, 4), dtype=np.uint8)
    pixels[0, 0] = (200, 10, 10, 255)
    pixels[0, 1] = (0, 0, 0, 128)
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    found = np.asarray(read_picture(tmp_path, "rgba.png"))
    assert found[0, 0].tolist() == [200, 10, 10]
    assert found[1].tolist() == [[255] * 3] * 2
    assert abs(int(found[0, 1, 0]) - 127) <= 1
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png", transparency=0)
    assert np.asarray(read_picture(tmp_path, "palette.png"))[0].tolist() == [[255] * 3, [9] * 3]


def test_pictures_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    Image.new("RGB", (4, 2)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_picture(tmp_path, "turned.jpg").size == (2, 4)


def test_pictures_that_cannot_be_used(tmp_path):
    folder = tmp_path / "data"
    noise_picture(folder / "good.png", seed=0)
    noise_picture(tmp_path / "secret.png", seed=0)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "inner.png").symlink_to(folder / "good.png")
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:400])
    (folder / "text.png").write_text("no picture")
    (folder / "empty.png").touch()
    Image.new("RGB", (1001, 10)).save(folder / "strip.png")
    Image.new("RGB", (1, 101)).save(folder / "thread.png")
    Image.new("RGB", (100, 1)).save(folder / "line.png")
    (folder / "loop").symlink_to("loop")
    assert read_picture(folder, "line.png").size == (100, 1)
    assert read_picture(folder, "inner.png").size == (64, 48)
    for file, reason in [
        ("nowhere.png", "no such file"),
        (".", "no such file"),
        ("../secret.png", "outside"),
        (str(tmp_path / "secret.png"), "outside"),
        ("link.png", "outside"),
        ("cut.png", "cannot be decoded"),
        ("text.png", "not a picture"),
        ("empty.png", "not a picture"),
        ("strip.png", "is 1001 x 10: beyond 100 to 1"),
        ("thread.png", "is 1 x 101: beyond 100 to 1"),
        ("loop/a.png", "no such file"),
        ("null\0byte.png", "no usable file name"),
        ("long" * 100 + ".png", "no usable file name|no such file"),
    ]:
        with pytest.raises(PictureError, match=reason):
            read_picture(folder, file)


def test_a_picture_that_cannot_be_resized_is_a_fault(make_dataset, small_model, monkeypatch):
    dataset = make_dataset([{"id": name, "images": [f"{name}.png"]} for name in "ab"])
    for name, side in (("a", 20), ("b", 30)):
        noise_picture(dataset.folder / f"{name}.png", seed=0, size=(side, side))
    resize = Image.Image.resize

    def unwilling(picture, *args, **options):
        if picture.width == 20:
            raise ValueError("height and width\nmust be > 0")
        return resize(picture, *args, **options)

    monkeypatch.setattr(Image.Image, "resize", unwilling)
    extract(dataset, ExtractOptions(**small_model("test_resnet"), decoders=0))
    (fault,) = FeatureStore.open(dataset).manifest["faults"]
    assert fault["reason"] == "cannot be resized (height and width must be > 0)"


def test_faults_are_listed_and_never_fatal(make_dataset, small_model):
    records = [
        {"id": "a", "images": ["a.png"]},
        {"id": "b", "images": ["nowhere.png", "a.png"]},
        {"id": "c", "images": ["text.png", "../../x.png", "null\0byte.png"]},
        {"id": "d", "images": []},
        {"id": "e"},
    ]
    dataset = make_dataset(records)
    noise_picture(dataset.folder / "a.png", seed=1)
    (dataset.folder / "text.png").write_text("no picture")
    extract(dataset, ExtractOptions(**small_model("test_resnet"), batch_size=2))
    store = FeatureStore.open(dataset)
    assert store.modalities == ("image",) and store.presence("image").tolist() == [True, True, False, False, False]
    assert store.manifest["missing"]["image"] == ["c", "d", "e"]
    faults = [(fault["entity"], fault["file"]) for fault in store.manifest["faults"]]
    assert faults == [("b", "nowhere.png"), ("c", "text.png"), ("c", "../../x.png"), ("c", "null\0byte.png")]
    values, mask = store.gather("image", torch.arange(5))
    assert torch.allclose(values[0], values[1], atol=1e-2)  # what is left of b is a's picture
    assert not values[2:].any() and not mask[2:].any() and mask[:2].all()


def test_a_picture_that_is_no_file_name_is_a_fault(make_dataset, small_model):
    uri = "data:image/png;base64," + "A" * 5000
    dataset = make_dataset([{"id": "a", "images": ["a.png", uri]}, {"id": "b"}])
    noise_picture(dataset.folder / "a.png", seed=1)
    extract(dataset, ExtractOptions(**small_model("test_resnet")))
    (fault,) = FeatureStore.open(dataset).manifest["faults"]
    assert (fault["entity"], fault["file"]) == ("a", uri)
    assert "no usable file name" in fault["reason"]


def test_several_pictures_are_averaged_up_to_the_limit(make_dataset, small_model):
    files = ["p/1.png", "p/2.png", "p/3.png"]
    records = [{"id": name, "images": [file]} for name, file in zip("abc", files, strict=True)]
    dataset = make_dataset([*records, {"id": "d", "images": files}])
    for number, file in enumerate(files):
        noise_picture(dataset.folder / file, seed=number, size=(50 + 10 * number, 60))
    options = small_model("test_resnet", image_dim=10**6)
    for limit in (1, 2, 3):
        given = ExtractOptions(**options, images_per_entity=limit, overwrite=True, batch_size=2)
        extract(dataset, given)
        store = FeatureStore.open(dataset)
        values, _ = store.gather("image", torch.arange(4))
        assert torch.allclose(values[3], values[:limit].mean(dim=0), atol=5e-3)
        assert store.manifest["counts"]["image_left_out"] == 3 - limit


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "swin_s3_tiny_224"])
def test_layouts_of_encoders(small_model, name):
    """Class tokens, channels first and channels last all end in the same layout."""
    options = ExtractOptions(**small_model(name))
    backbone = load_backbone(options, CPU)
    pixels = backbone.transform(Image.effect_noise((300, 260), 90).convert("RGB"))
    with torch.inference_mode():
        features = backbone.features(torch.from_numpy(np.stack([pixels, pixels])))
        channels = backbone.model.num_features
        assert backbone.as_tokens(features).shape[2] == channels
        assert backbone.as_map(features).shape[1] == channels
        assert backbone.as_map(features).shape[2] == backbone.as_map(features).shape[3]
        if features.ndim == 3:
            prefix = backbone.model.num_prefix_tokens
            side = backbone.as_map(features).shape[3]
            assert torch.equal(backbone.as_map(features)[0, :, 1, 2], features[0, prefix + side + 2])


@pytest.mark.parametrize("tokens", [3, 200])
def test_none_pooling_crops_or_pads(make_dataset, small_model, tokens):
    dataset = make_dataset([{"id": "a", "images": ["a.png"]}, {"id": "b"}])
    noise_picture(dataset.folder / "a.png", seed=0)
    extract(dataset, ExtractOptions(**small_model("test_vit"), image_pooling="none", image_tokens=tokens))
    values, mask = FeatureStore.open(dataset).gather("image", torch.arange(2))
    source = FeatureStore.open(dataset).manifest["modalities"]["image"]["source_tokens"]
    assert values.shape[1] == tokens and mask.sum(dim=1).tolist() == [min(tokens, source), 0]
    assert not values[~mask].any()


def test_reductions_of_width(make_dataset, small_model):
    dataset = make_dataset([{"id": str(number), "images": [f"{number}.png"]} for number in range(6)])
    for number in range(6):
        noise_picture(dataset.folder / f"{number}.png", seed=number)
    for reduction in ("pca", "average"):
        options = small_model("test_resnet", image_reduction=reduction, image_dim=16, overwrite=True)
        extract(dataset, ExtractOptions(**options))
        store = FeatureStore.open(dataset)
        assert store.shape("image") == (9, 16)
        assert store.manifest["modalities"]["image"]["reduction"] == reduction


def test_impossible_poolings_name_the_flag(make_dataset, small_model):
    dataset = make_dataset([{"id": "a", "images": ["a.png"]}, {"id": "b"}])
    noise_picture(dataset.folder / "a.png", seed=0)
    with pytest.raises(UserError, match="--image-tokens 8"):
        extract(dataset, ExtractOptions(**small_model("test_resnet"), image_tokens=8))


def test_a_crop_of_one_keeps_the_border(small_model):
    image = Image.new("RGB", (100, 100))
    image.paste((255, 255, 255), (0, 0, 3, 100))
    whole = load_backbone(ExtractOptions(**small_model("test_resnet"), image_crop=1.0), CPU)
    cropped = load_backbone(ExtractOptions(**small_model("test_resnet"), image_crop=0.8), CPU)
    assert whole.transform(image).max() > 200
    assert cropped.transform(image).max() < 60
