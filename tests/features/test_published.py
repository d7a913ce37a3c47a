"""Published features, as small files in the layouts of MMRNS, MMKB, AdaMF, NativE, MoMoK and MyGO."""

import json
import re
import zipfile
from collections import Counter

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from mmrns.cli import main
from mmrns.errors import UserError
from mmrns.features import FeatureStore
from mmrns.features.published.matching import Matcher, plain, read_links
from mmrns.features.published.sources import load_matrix
from mmrns.graph.dataset import load_dataset

DBPEDIA = "http://dbpedia.org/resource/"
NAMES = ["Ada_Lovelace", "AC/DC", "Blue_(film)", "Zürich", "Nobody"]


def write_graph(folder, ids):
    folder.mkdir(parents=True, exist_ok=True)
    ring = "".join(f"{head}\tnext\t{tail}\n" for head, tail in zip(ids, ids[1:] + ids[:1], strict=True))
    for split in ("train", "valid", "test"):
        (folder / f"{split}.txt").write_text(ring, encoding="utf-8")
    return folder


@pytest.fixture
def db15k(tmp_path):
    """A graph whose ids are those of DB15K: addresses in angle brackets."""
    return write_graph(tmp_path / "graph", [f"<{DBPEDIA}{name}>" for name in NAMES])


def vectors(*shape, seed=0):
    # Multiples of 1/64: exact in fp16.
    return (np.random.default_rng(seed).integers(1, 128, shape) / 64).astype(np.float32)


def run(capsys, graph, *options):
    status = main(["import", str(graph), *map(str, options)])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def tokens_of(graph, modality, folder=None):
    """name -> (tokens, width) of the tokens that are there."""
    dataset = load_dataset(graph)
    values, mask = FeatureStore.open(dataset, folder).arrays(modality)
    return {name: values[row][mask[row]].astype(np.float32) for row, name in enumerate(dataset.entities.ids)}


def write_h5(path, arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def test_the_h5_files_of_mmrns_for_db15k(db15k, tmp_path, capsys):
    """Texts by name, pictures by Freebase id through the SameAs links; a name with "/" lies in a group of HDF5."""
    pictures = {"m.0a": vectors(24, 383, seed=1), "m.0b": vectors(24, 383, seed=2), "m.0lost": vectors(24, 383)}
    image = write_h5(tmp_path / "MMKB_img_BEIT_16-224.h5", pictures)
    sentences = {"AC/DC": vectors(6, 384, seed=3), "Zürich": vectors(2, 384, seed=4), "Elsewhere": vectors(1, 384)}
    text = write_h5(tmp_path / "MMKB_description_sentences.h5", sentences)
    links = tmp_path / "DB15K_SameAsLink.txt"
    links.write_text(
        f"/m/0a <SameAs> <{DBPEDIA}Ada_Lovelace> .\n/m/0b <SameAs> <{DBPEDIA}AC/DC> .\n/m/0c <SameAs> <{DBPEDIA}X> .\n"
    )
    status, said = run(capsys, db15k, "--image", image, "--text", text, "--links", links)
    assert status == 0
    images, texts = tokens_of(db15k, "image"), tokens_of(db15k, "text")
    np.testing.assert_array_equal(images[f"<{DBPEDIA}Ada_Lovelace>"], pictures["m.0a"])
    np.testing.assert_array_equal(images[f"<{DBPEDIA}AC/DC>"], pictures["m.0b"])
    np.testing.assert_array_equal(texts[f"<{DBPEDIA}AC/DC>"], sentences["AC/DC"][:4])
    np.testing.assert_array_equal(texts[f"<{DBPEDIA}Zürich>"], sentences["Zürich"])
    assert sum(len(values) > 0 for values in images.values()) == sum(len(values) > 0 for values in texts.values()) == 2
    manifest = FeatureStore.open(load_dataset(db15k)).manifest
    assert manifest["modalities"]["image"]["unmatched"] == ["m.0lost"]
    assert manifest["modalities"]["text"]["unmatched"] == ["Elsewhere"]
    assert manifest["modalities"]["image"]["names"] == {
        "in_file": 3, "matched": 2, "matched_by_link": 2, "unmatched": 1, "repeated": 0
    }  # fmt: skip
    assert manifest["counts"]["text_matched_by_link"] == 0
    assert f"<{DBPEDIA}Nobody>" in manifest["missing"]["image"] and len(manifest["missing"]["text"]) == 3
    assert "1 belong to no entity (all in features.json): m.0lost" in said
    assert "24 x 383 tokens, 2 of 5 entities" in said and "4 x 384 tokens, 2 of 5 entities" in said


def test_addresses_in_an_h5_keep_both_of_their_slashes(db15k, tmp_path, capsys):
    arrays = {f"<{DBPEDIA}AC/DC>": vectors(2, 4, seed=1), "https://elsewhere.org/x": vectors(2, 4)}
    arrays |= {f"{DBPEDIA}Zürich": vectors(2, 4, seed=2), f"{DBPEDIA}Nobody": vectors(2, 5)}
    assert run(capsys, db15k, "--text", write_h5(tmp_path / "t.h5", arrays))[0] == 0
    found = tokens_of(db15k, "text")
    np.testing.assert_array_equal(found[f"<{DBPEDIA}AC/DC>"], arrays[f"<{DBPEDIA}AC/DC>"])
    np.testing.assert_array_equal(found[f"<{DBPEDIA}Zürich>"], arrays[f"{DBPEDIA}Zürich"])
    manifest = FeatureStore.open(load_dataset(db15k)).manifest
    assert manifest["modalities"]["text"]["unmatched"] == ["https://elsewhere.org/x"]
    assert [fault["entity"] for fault in manifest["faults"]] == [f"{DBPEDIA}Nobody"]


def test_a_name_in_an_h5_that_is_not_utf8_is_a_fault(db15k, tmp_path, capsys):
    path = write_h5(tmp_path / "t.h5", {"Nobody": vectors(2, 4), b"Z\xfcrich": vectors(2, 4)})
    assert run(capsys, db15k, "--text", path)[0] == 0
    (fault,) = FeatureStore.open(load_dataset(db15k)).manifest["faults"]
    assert (fault["entity"], fault["reason"]) == ("Z\ufffdrich", "has a name that is not UTF-8")


def test_the_ent_links_of_mmrns_lead_from_dbpedia_to_the_graph_even_where_both_know_a_name(tmp_path, capsys):
    """As for MKG-W and MKG-Y. "Paris" of DBpedia is "Paris_(city)" of YAGO here, and YAGO's "Paris" something else."""
    graph = write_graph(tmp_path / "graph", ["Paris", "Paris_(city)", "Q7"])
    links = tmp_path / "ent_links"
    links.write_text(f"{DBPEDIA}Paris\tParis_(city)\n{DBPEDIA}Seven\tQ7\n")
    arrays = {"Paris": vectors(3, 5, seed=1), "Seven": vectors(3, 5, seed=2)}
    assert run(capsys, graph, "--text", write_h5(tmp_path / "t.h5", arrays), "--links", links)[0] == 0
    found = tokens_of(graph, "text")
    np.testing.assert_array_equal(found["Paris_(city)"], arrays["Paris"])
    np.testing.assert_array_equal(found["Q7"], arrays["Seven"])
    assert len(found["Paris"]) == 0


def test_the_image_index_of_mmkb_links_the_other_way_round(db15k, tmp_path, capsys):
    """VGG vectors of one row, under identifiers that a file of pairs leads from."""
    index = tmp_path / "DB15K_ImageIndex.txt"
    index.write_text(f"<{DBPEDIA}Zürich>\tDBIMG00001\n<{DBPEDIA}Nobody>\tDBIMG00002\n", encoding="utf-8")
    arrays = {"DBIMG00001": vectors(1, 12, seed=1), "DBIMG00002": vectors(12, seed=2)}
    assert run(capsys, db15k, "--image", write_h5(tmp_path / "i.h5", arrays), "--links", index)[0] == 0
    found = tokens_of(db15k, "image")
    np.testing.assert_array_equal(found[f"<{DBPEDIA}Zürich>"], arrays["DBIMG00001"])
    np.testing.assert_array_equal(found[f"<{DBPEDIA}Nobody>"], arrays["DBIMG00002"][None])


def write_order(path, names, header=True):
    lines = [f"{len(names)}"] * header + [f"{name} {number}" for number, name in enumerate(names)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


ORDER = [f"<{DBPEDIA}{name}>" for name in ("Zürich", "Gone", "Ada_Lovelace", "Blue_(film)", "AC/DC")]


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("kind", ["tensor", "parameter", "numpy", "double", "named"])
def test_the_matrices_of_adamf_native_and_momok(db15k, tmp_path, capsys, kind, header):
    """Rows in the order of entity2id.txt, which has its count before it in two projects and not in the third."""
    matrix = vectors(5, 16)
    matrix[3] = 0  # nothing known of this one
    saved = {
        "tensor": torch.from_numpy(matrix), "parameter": torch.nn.Parameter(torch.from_numpy(matrix)), "numpy": matrix,
        "double": torch.from_numpy(matrix).double(), "named": {"visual": torch.from_numpy(matrix)},
    }[kind]  # fmt: skip
    torch.save(saved, tmp_path / "DB15K-visual.pth")
    order = write_order(tmp_path / "entity2id.txt", ORDER, header)
    status, said = run(capsys, db15k, "--image", tmp_path / "DB15K-visual.pth", "--entities", order)
    assert status == 0
    found = tokens_of(db15k, "image")
    for row in (0, 2, 4):
        np.testing.assert_array_equal(found[ORDER[row]], matrix[row][None])
    assert len(found[ORDER[3]]) == len(found[f"<{DBPEDIA}Nobody>"]) == 0
    assert FeatureStore.open(load_dataset(db15k)).manifest["modalities"]["image"]["unmatched"] == [ORDER[1]]
    assert "5 names, 4 matched" in said


def test_entity2id_in_the_folder_of_the_dataset_is_found_and_a_filler_is_counted(db15k, tmp_path, capsys):
    matrix = np.repeat(vectors(1, 6), 5, axis=0)
    matrix[2] += 1
    torch.save(torch.from_numpy(matrix), tmp_path / "img_features.pth")
    write_order(db15k / "entity2id.txt", ORDER)
    status, said = run(capsys, db15k, "--image", tmp_path / "img_features.pth")
    assert status == 0
    assert "3 entities share one array; if these are many, the authors filled gaps with it" in said


def test_the_tokens_and_codebook_of_mygo(db15k, tmp_path, capsys):
    """The most frequent ids of an entity, looked up in the codebook; DB15K's entities are numbers there."""
    rng = np.random.default_rng(0)
    codebook = vectors(40, 32)
    torch.save(torch.from_numpy(codebook), tmp_path / "visual.pth")
    ids = {str(n): rng.integers(0, 40, 196).tolist() for n in (0, 2)} | {"4": [7, 7, 3], "1": [5]}
    ids |= {"<http://dbpedia.org/resource/Nobody>": [1], "99": [1], "3": [40]}
    (tmp_path / "DB15K-visual.json").write_text(json.dumps(ids))
    order = write_order(tmp_path / "entity2id.txt", ORDER)
    options = ("--image", tmp_path / "DB15K-visual.json", "--image-codebook", tmp_path / "visual.pth")
    status, said = run(capsys, db15k, *options, "--entities", order)
    assert status == 0
    found = tokens_of(db15k, "image")
    for number in (0, 2):
        most = [token for token, _ in Counter(ids[str(number)]).most_common(8)]
        np.testing.assert_array_equal(found[ORDER[number]], codebook[most])
    np.testing.assert_array_equal(found[ORDER[4]], codebook[[7, 3]])
    np.testing.assert_array_equal(found[f"<{DBPEDIA}Nobody>"], codebook[[1]])
    assert "2 belong to no entity (all in features.json): 1, 99" in said
    assert "1 cannot be used (all in features.json): 3 (has a token id that the codebook of 40 lacks)" in said
    # The same from the archive that the file is published in.
    with zipfile.ZipFile(tmp_path / "DB15K-visual.json.zip", "w") as archive:
        archive.write(tmp_path / "DB15K-visual.json", "DB15K-visual.json")
        archive.writestr("__MACOSX/._DB15K-visual.json", "x")
    zipped = ("--image", tmp_path / "DB15K-visual.json.zip", *options[2:], "--entities", order, "--image-tokens", 2)
    assert run(capsys, db15k, *zipped, "--output", tmp_path / "out")[0] == 0
    np.testing.assert_array_equal(tokens_of(db15k, "image", tmp_path / "out")[ORDER[0]], found[ORDER[0]][:2])


def test_one_modality_after_the_other(db15k, tmp_path, capsys):
    image = write_h5(tmp_path / "i.h5", {"Zürich": vectors(2, 4)})
    text = write_h5(tmp_path / "t.h5", {"Nobody": vectors(2, 3)})
    assert run(capsys, db15k, "--image", image)[0] == 0
    status, said = run(capsys, db15k, "--text", text)
    assert status == 2 and "features.safetensors: exists; give --add to keep its other modality" in said
    assert run(capsys, db15k, "--text", text, "--add")[0] == 0
    assert FeatureStore.open(load_dataset(db15k)).modalities == ("image", "text")
    np.testing.assert_array_equal(tokens_of(db15k, "image")[f"<{DBPEDIA}Zürich>"], vectors(2, 4))
    status, said = run(capsys, db15k, "--text", text, "--add")
    assert status == 2 and "has text features already; give --overwrite too" in said
    manifest = FeatureStore.open(load_dataset(db15k)).manifest
    assert manifest["modalities"]["image"]["file"]["path"] == "i.h5" and manifest["counts"]["image_matched"] == 1
    assert run(capsys, db15k, "--text", text, "--overwrite")[0] == 0
    assert FeatureStore.open(load_dataset(db15k)).modalities == ("text",)


def store_in_single_precision(folder, value):
    """The features of a folder as fp32, their first number changed."""
    path = folder / "features.safetensors"
    tensors = load_file(path)
    tensors["image"] = tensors["image"].astype(np.float32)
    tensors["image"][0, 0, 0] = value
    save_file(tensors, path)


def test_what_is_kept_may_be_in_single_precision(tmp_path, capsys):
    graph = write_graph(tmp_path / "graph", ["a", "b"])
    image = write_h5(tmp_path / "i.h5", {"a": vectors(2, 4, seed=1), "b": vectors(1, 4, seed=2)})
    text = write_h5(tmp_path / "t.h5", {"b": vectors(2, 3)})
    assert run(capsys, graph, "--image", image)[0] == 0
    store_in_single_precision(graph, 0.5)
    assert run(capsys, graph, "--text", text, "--add")[0] == 0
    expected = vectors(2, 4, seed=1)
    expected[0, 0] = 0.5
    np.testing.assert_array_equal(tokens_of(graph, "image")["a"], expected)
    np.testing.assert_array_equal(tokens_of(graph, "image")["b"], vectors(1, 4, seed=2))
    assert FeatureStore.open(load_dataset(graph)).arrays("image")[0].dtype == np.float16
    store_in_single_precision(graph, 1e6)
    status, said = run(capsys, graph, "--text", text, "--add", "--overwrite")
    assert status == 2 and said.count("\n") == 1
    assert "features.safetensors: cannot be kept (image: holds values that are not finite in fp16); give" in said


def test_arrays_that_cannot_be_used_are_listed(db15k, tmp_path, capsys):
    broken = vectors(2, 4)
    broken[1, 1] = np.nan
    arrays = {
        "Zürich": vectors(2, 4), "AC/DC": vectors(3, 4), "Nobody": broken, "Ada_Lovelace": vectors(2, 5),
        "Blue_(film)": vectors(2, 2, 4), "Elsewhere": vectors(2, 4),
    }  # fmt: skip
    path = write_h5(tmp_path / "t.h5", arrays)
    status, said = run(capsys, db15k, "--text", path, "--json")
    assert status == 0
    summary = json.loads(said)
    reasons = {fault["entity"]: fault["reason"] for fault in summary["faults"]}
    assert set(reasons) == {"Nobody", "Ada_Lovelace", "Blue_(film)"}
    assert reasons["Nobody"] == "holds values that are not finite in fp16"
    assert reasons["Ada_Lovelace"] == "is 5 wide, and most are 4"
    assert summary["modalities"]["text"]["names"]["in_file"] == 6
    assert summary["counts"]["text"] == 2


def spoiled_archive(path):
    """An archive whose directory is sound and whose .json is not."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", json.dumps({"x": np.random.default_rng(0).integers(0, 40, 5000).tolist()}))
    content = path.read_bytes()
    return content[:200] + bytes(byte ^ 0xFF for byte in content[200:1200]) + content[1200:]


def test_a_damaged_archive_is_one_line(db15k, tmp_path, capsys):
    path = bad(tmp_path / "a.json.zip", spoiled_archive(tmp_path / "a.json.zip"))
    torch.save(torch.ones(40, 2), tmp_path / "book.pth")
    status, said = run(capsys, db15k, "--image", path, "--image-codebook", tmp_path / "book.pth")
    assert status == 2 and said.count("\n") == 1
    assert re.search(r"--image .*a\.json\.zip: not readable as JSON \(.*\); obtain it again", said)


def bad(path, content):
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    return path


class Code:
    """Runs something when it is unpickled the careless way."""

    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


@pytest.mark.parametrize(
    ("file", "content", "options", "message"),
    [
        ("a.npy", b"x", (), r"--image .*a\.npy: unknown kind; give one of \.h5"),
        ("a.h5", b"not hdf5", (), r"--image .*a\.h5: not a sound HDF5 file"),
        ("a.pth", b"not torch", (), r"--image .*a\.pth: cannot be read without running code"),
        ("a.pth", Code(), (), r"--image .*a\.pth: cannot be read without running code"),
        ("a.pth", torch.ones(5, 2), (), r"--entities: missing; the rows of a\.pth are in the order of its authors'"),
        ("a.pth", torch.ones(4, 2), ("--entities", "ORDER"), r"4 rows, and --entities names 5; give the files of one"),
        ("a.pth", torch.ones(5), ("--entities", "ORDER"), r"holds float32 \(5,\), not one 2-dimensional or 3-dim"),
        ("a.pth", {"a": 1, "b": 2}, ("--entities", "ORDER"), r"holds dict, not one 2-dimensional"),
        ("a.pth", torch.ones(5, 0), ("--entities", "ORDER"), r"holds an empty array"),
        ("a.json", b"{}", (), r"--image-codebook: missing; a\.json holds numbers of tokens"),
        ("a.json", b"{", ("--image-codebook", "BOOK"), r"--image .*a\.json: not readable as JSON"),
        ("a.json", b"[]", ("--image-codebook", "BOOK"), r"not an object of token ids by entity"),
        ("a.json", b'{"x": ["y"]}', ("--image-codebook", "BOOK"), r"holds no usable array \(x: is not a list of token"),
        ("a.zip", b"{}", ("--image-codebook", "BOOK"), r"--image .*a\.zip: not readable as JSON"),
        ("a.json", b'{"x": [1]}', ("--image-codebook", "NONE"), r"--image-codebook .*none\.pth: no such file"),
        ("a.json", b'{"x": [1]}', ("--image-codebook", "BOOK"), r"none of its 1 names, such as x, is an entity of"),
        ("a.h5", None, (), r"--image .*a\.h5: no such file; see: mmrns fetch"),
        ("a.h5", b"", ("--image-codebook", "BOOK"), r"--image-codebook .*: belongs to token ids in a \.json"),
        ("a.h5", b"", ("--links", "NONE"), r"--links .*none\.pth: no such file"),
        ("a.h5", b"", ("--links", "ODD"), r"odd\.txt:2: not a pair of names"),
        ("a.h5", b"", ("--entities", "NONE"), r"none\.pth: missing; add it, or check the path"),
        ("a.h5", b"", ("--text-tokens", "3"), r"--text-codebook, --text-tokens: belong to --text"),
    ],
)  # fmt: skip
def test_bad_files_end_in_one_line(db15k, tmp_path, capsys, file, content, options, message):
    if content is not None:
        bad(tmp_path / file, content)
    torch.save(torch.ones(4, 2), tmp_path / "book.pth")
    (tmp_path / "odd.txt").write_text("a\tb\nalone\n")
    paths = {
        "ORDER": write_order(tmp_path / "entity2id.txt", ORDER), "BOOK": tmp_path / "book.pth",
        "NONE": tmp_path / "none.pth", "ODD": tmp_path / "odd.txt",
    }  # fmt: skip
    status, said = run(capsys, db15k, "--image", tmp_path / file, *(paths.get(option, option) for option in options))
    assert status == 2 and said.count("\n") == 1
    assert re.search(message, said)
    assert not (db15k / "features.safetensors").exists()


@pytest.mark.parametrize("number", ["x", "0", "-1", "1.5", ""])
def test_a_number_of_tokens_that_is_none_is_refused(db15k, capsys, number):
    with pytest.raises(SystemExit):
        main(["import", str(db15k), "--image", "a.h5", f"--image-tokens={number}"])
    told = capsys.readouterr().err
    assert f"argument --image-tokens: {number}: must be a whole number, 1 or more" in told and told.count("\n") == 1


def test_names_with_and_without_their_address():
    assert plain(f"<{DBPEDIA}AC/DC>") == "AC/DC"
    assert plain("m.0a_b") == plain("/m/0a_b") == plain("m/0a_b") == "/m/0a_b"
    assert plain("http://www.wikidata.org/entity/Q1") == "Q1"
    # In full before in part: of two things with one name the address tells which.
    matcher = Matcher([f"<{DBPEDIA}Paris>", "<http://yago-knowledge.org/resource/Paris>"])
    assert matcher.find("http://yago-knowledge.org/resource/Paris") == ([1], False)
    assert matcher.find("Paris") == ([0, 1], False)
    found = matcher.match(["Paris", f"{DBPEDIA}Paris", "London"])
    assert (found.rows, found.repeated, found.unmatched) == ({0: [0, 1]}, [f"{DBPEDIA}Paris"], ["London"])


def test_links_are_pairs_or_triples(tmp_path):
    path = tmp_path / "links"
    path.write_text("a\tb c\n/m/0 <SameAs> <x> .\nd <same> e\n")
    assert read_links(path) == [("a", "b c"), ("/m/0", "<x>"), ("d", "e")]


def test_a_matrix_of_three_dimensions_gives_its_tokens(db15k, tmp_path, capsys):
    matrix = vectors(5, 6, 4)
    torch.save(torch.from_numpy(matrix), tmp_path / "x.pth")
    order = write_order(tmp_path / "entity2id.txt", ORDER)
    assert run(capsys, db15k, "--text", tmp_path / "x.pth", "--entities", order, "--text-tokens", "3")[0] == 0
    np.testing.assert_array_equal(tokens_of(db15k, "text")[ORDER[4]], matrix[4, :3])
    with pytest.raises(UserError, match="holds float32"):
        load_matrix(tmp_path / "x.pth", "--image-codebook", (2,))
