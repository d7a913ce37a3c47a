"""The catalogue of published files, and what is said of the files that were placed."""

import hashlib
import json
import re
import shlex

import h5py
import numpy as np
import pytest
import torch

from mmrns.cli import build_parser, main
from mmrns.features import FeatureStore
from mmrns.features.published.catalogue import FILE, published_dataset, published_datasets
from mmrns.features.published.placed import EXAMINE, check_placed
from mmrns.graph.dataset import load_dataset
from tests.graph.test_triples import write_names, write_openke

TRIPLES = {"train": [("a", "r", "b"), ("b", "r", "c")], "valid": [("c", "s", "a")], "test": [("a", "s", "c")]}


def digest(lines):
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.fixture
def published(tmp_path):
    """A catalogue of a graph of three entities, with a file of each form."""
    lines = {split: ["\t".join(triple) + "\n" for triple in triples] for split, triples in TRIPLES.items()}
    triples = {split: [digest(of), digest(sorted(of))] for split, of in lines.items()}
    source = {"by": "somebody", "page": "https://example.org", "at": "folder {dataset}", "licence": "not stated"}
    files = [
        {"name": "names.txt", "what": "names", "source": "native-repository", "form": "order",
         "sha256": [digest(["a 0\n", "b 1\n", "c 2\n"])]},
        {"name": "same", "what": "links", "source": "native-repository", "form": "links"},
        {"name": "i.h5", "what": "pictures", "source": "native-repository", "form": "h5", "array": [2, 4]},
        {"name": "t.h5", "what": "texts", "source": "native-repository", "form": "h5", "array": [None, 4]},
        {"name": "{dataset}.pth", "what": "pictures", "source": "native-repository", "form": "matrix"},
        {"name": "ids.json.zip", "what": "pictures", "source": "native-repository", "form": "tokens"},
    ]  # fmt: skip
    counts = {"entities": 3, "relations": 2} | {split: len(of) for split, of in TRIPLES.items()}
    entry = {"about": "three things", "counts": counts, "triples": triples, "files": files}
    content = {"sources": {"native-repository": source}, "datasets": {"Three": entry}}
    (tmp_path / "catalogue.yaml").write_text(json.dumps(content))  # JSON is YAML
    return published_datasets(tmp_path / "catalogue.yaml")["Three"]


def states(published, folder):
    return {found.file: found.state for found in check_placed(published, folder)}


def details(published, folder):
    return {found.file: found.detail for found in check_placed(published, folder)}


def test_triples_are_known_in_every_form_they_are_read_in(published, tmp_path):
    for number, write in enumerate((write_names, lambda f, s: write_names(f, s, "{} {} {} .\n"), write_openke)):
        found = states(published, write(tmp_path / str(number), TRIPLES))
        of_triples = [
            state for name, state in found.items() if name.endswith((".txt", "splits")) and "names" not in name
        ]
        assert of_triples == ["as published"] * 4


def test_another_order_is_said_and_other_triples_are_wrong(published, tmp_path):
    folder = write_names(tmp_path / "graph", TRIPLES | {"train": TRIPLES["train"][::-1]})
    assert "in another order" in details(published, folder)["train.txt"]
    assert set(states(published, folder).values()) == {"as published", "missing"}
    write_names(folder, TRIPLES | {"test": [("a", "s", "b")], "valid": TRIPLES["valid"] * 2})
    found = details(published, folder)
    assert states(published, folder)["test.txt"] == states(published, folder)["valid.txt"] == "wrong"
    assert re.search(
        r"test\.txt: other triples than published; obtain the triples from https://example", found["test.txt"]
    )
    assert "2 triples, not 1" in found["valid.txt"]
    write_names(folder, TRIPLES | {"train": [*TRIPLES["train"], ("d", "r", "a")]})
    assert "4 entities, 2 relations, not 3 entities, 2 relations" in details(published, folder)["all splits"]
    (folder / "valid.txt").write_text("oops\n")
    assert "valid.txt:1: 1 column instead of 3" in details(published, folder)["triples"]


def test_what_is_not_there_is_missing(published, tmp_path):
    assert set(states(published, tmp_path / "nowhere").values()) == {"missing"}


def test_files_without_a_known_checksum_are_judged_by_what_is_in_them(published, tmp_path):
    folder = write_names(tmp_path / "graph", TRIPLES)
    (folder / "names.txt").write_text("a 0\nb 1\nc 2\n")
    (folder / "same").write_text("x\ta\n")
    for name, shapes in (("i.h5", [(2, 4), (2, 4), (2, 5)]), ("t.h5", [(3, 4), (1, 4)])):
        with h5py.File(folder / name, "w") as file:
            for number, shape in enumerate(shapes):
                file[f"key{number}"] = np.ones(shape, np.float32)
    torch.save(torch.ones(3, 7), folder / "Three.pth")
    (folder / "ids.json").write_text('{"a": [1], "b": [2]}')  # unpacked
    FeatureStore.write(load_dataset(folder), {"text": (np.ones((3, 2, 5), np.float32), np.ones((3, 2), bool))})
    found, said = states(published, folder), details(published, folder)
    assert found["names.txt"] == "as published"
    for name in ("same", "i.h5", "t.h5", "Three.pth", "ids.json", "features.safetensors"):
        assert found[name] == "plausible"
    assert said["i.h5"] == "2 arrays, 1 unusable, 2 of 2 x 4; its checksum is not known"
    assert said["Three.pth"] == "3 x 7, a row an entity; its checksum is not known"
    assert said["ids.json"] == "token ids of 2 entities; its checksum is not known"
    assert said["features.safetensors"] == "made by mmrns: text 2 x 5; its SHA-256 is that of features.json"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("names.txt", b"a 0\nb 1\n", r"names\.txt: its SHA-256 is not that of the published file; obtain it again"),
        ("same", b"alone\n", r"same:1: not a pair of names"),
        ("i.h5", b"x", r"i\.h5: not a sound HDF5 file"),
        ("Three.pth", b"x", r"Three\.pth: cannot be read"),
        ("ids.json.zip", b"x", r"ids\.json\.zip: not readable as JSON"),
        ("features.safetensors", b"x", r"features\.json: no such file"),
    ],
)
def test_a_wrong_file_is_named(published, tmp_path, file, content, message):
    folder = write_names(tmp_path / "graph", TRIPLES)
    (folder / file).write_bytes(content)
    assert states(published, folder)[file] == "wrong"
    assert re.search(message, details(published, folder)[file])


def test_shapes_that_do_not_fit_are_wrong(published, tmp_path):
    folder = write_names(tmp_path / "graph", TRIPLES)
    with h5py.File(folder / "i.h5", "w") as file:
        file["key"] = np.ones((3, 4), np.float32)
    torch.save(torch.ones(4, 7), folder / "Three.pth")
    said = details(published, folder)
    assert "most arrays are 3 x 4, not 2 x 4" in said["i.h5"]
    assert "4 rows, and Three has 3 entities" in said["Three.pth"]


def test_the_command_says_where_every_file_is_from(tmp_path, capsys):
    assert main(["fetch", "db15k", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for file in published_dataset("DB15K").files:
        assert f": {file.name}\n  by {file.origins[0].by}, {file.origins[0].page}" in said
        assert f"  at {file.origins[0].at}; licence: {file.origins[0].licence}" in said
    assert "12,842 entities, 279 relations, 79,222 train, 9,904 valid, 9,902 test" in said
    assert "None of them is in place." in said
    assert main(["fetch", "MKG-W", "--folder", str(tmp_path), "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert known["counts"]["entities"] == 15000
    assert {found["state"] for found in known["placed"]} == {"missing"}


def test_the_command_ends_with_status_2_where_a_placed_file_is_wrong(tmp_path, capsys):
    folder = write_names(tmp_path / "MKG-Y", TRIPLES)
    assert main(["fetch", "MKG-Y", "--folder", str(folder)]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"mmrns fetch: .*train\.txt: 2 triples, not 21,310; obtain the triples from \S+\n", error)
    assert main(["fetch", "FB15k"]) == 2
    assert (
        "FB15k: not in the catalogue of published datasets; give one of DB15K, MKG-W, MKG-Y" in capsys.readouterr().err
    )


def test_the_catalogue_is_whole():
    known = published_datasets(FILE)
    assert list(known) == ["DB15K", "MKG-W", "MKG-Y"]
    parser = build_parser()
    for dataset in known.values():
        assert set(dataset.counts) == {"entities", "relations", "train", "valid", "test"}
        digests = [one for split in ("train", "valid", "test") for one in dataset.triples[split]]
        digests += [one for file in dataset.files for one in file.sha256]
        assert all(re.fullmatch("[0-9a-f]{64}", one) for one in digests) and len(dataset.triples["train"]) == 2
        names = [file.name for file in dataset.files]
        assert len(set(names)) == len(names)
        for file in dataset.files:
            assert file.form in EXAMINE and file.origins
            if file.command:  # it runs, and asks for no file that the catalogue lacks
                arguments = parser.parse_args(shlex.split(file.command)[1:])
                used = [arguments.image, arguments.text, arguments.image_codebook, arguments.entities, *arguments.links]
                assert {str(path) for path in used if path is not None} <= set(names)
