"""PictoKG as shipped (files, splits, texts, pictures, licences), and the split and masking of its builder."""

from __future__ import annotations

import importlib
import json
import random
import re
import subprocess
import sys
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data" / "pictokg"
SPLITS = ("train", "valid", "test")
MAX_BYTES = 10_000_000
LICENCES = {"babel", "cldr", "flag-icons", "openmoji", "tzdata", "wordnet", "world-countries"}


def builder(name):
    """A module of the builder, which is not an installed package."""
    if str(ROOT / "scripts") not in sys.path:
        sys.path.insert(0, str(ROOT / "scripts"))
    return importlib.import_module(f"pictokg.{name}")


def read_json_lines(name):
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def splits():
    return {
        name: [tuple(line.split("\t")) for line in (DATA / f"{name}.txt").read_text(encoding="utf-8").splitlines()]
        for name in SPLITS
    }


@pytest.fixture(scope="module")
def triples(splits):
    return [triple for split in splits.values() for triple in split]


@pytest.fixture(scope="module")
def entities():
    return {entity["id"]: entity for entity in read_json_lines("entities.jsonl")}


# --- the shipped files -------------------------------------------------------------------------------------------


def test_triple_files_are_plain_sorted_and_unique(splits, triples):
    for name in SPLITS:
        raw = (DATA / f"{name}.txt").read_bytes()
        assert raw.endswith(b"\n") and b"\r" not in raw
        assert all(len(triple) == 3 and all(triple) for triple in splits[name])
        assert splits[name] == sorted(splits[name])
    assert len(set(triples)) == len(triples)
    assert all(head != tail for head, _, tail in triples)


def test_entities_and_relations_follow_the_contract(triples, entities):
    lines = read_json_lines("entities.jsonl")
    assert [line["id"] for line in lines] == sorted(entities)
    for line in lines:
        assert list(line) == ["id", "label", "texts", "images", "type"]
        assert line["label"].strip() and line["type"].strip()
        assert line["texts"] and all(text.strip() and "\n" not in text for text in line["texts"])
    relations = read_json_lines("relations.jsonl")
    assert all(list(line) == ["id", "label"] and line["label"] for line in relations)
    assert [line["id"] for line in relations] == sorted({relation for _, relation, _ in triples})
    assert set(entities) == {id for head, _, tail in triples for id in (head, tail)}


def test_size_is_about_what_the_readme_says(splits, triples, entities):
    assert len(triples) > 6000 and len(entities) > 2000
    held_out = 1 - len(splits["train"]) / len(triples)
    assert 0.18 < held_out <= 0.2
    assert abs(len(splits["valid"]) - len(splits["test"])) <= 2
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    for number in (len(entities), len(triples), *map(len, splits.values())):
        assert f"| {number:,} |" in readme


def test_folder_is_small_and_has_its_licences():
    # Not what `mmrns extract` leaves beside them.
    shipped = [path for path in DATA.rglob("*") if path.is_file() and not path.name.startswith("features.")]
    assert sum(path.stat().st_size for path in shipped) < MAX_BYTES
    assert {path.stem for path in (DATA / "licenses").iterdir()} == LICENCES
    licence = (DATA / "LICENSE").read_text(encoding="utf-8")
    for name in LICENCES:
        assert f"licenses/{name}.txt" in licence
        assert (DATA / "licenses" / f"{name}.txt").stat().st_size > 200
    for words in ("CC BY-SA 4.0", "OpenMoji", "ODbL", "WordNet 3.1 Copyright 2011", "MIT", "Unicode License V3"):
        assert words in licence


def test_every_picture_opens_and_belongs_to_one_entity(entities):
    named = [image for entity in entities.values() for image in entity["images"]]
    assert Counter(named) == Counter(f"images/{path.name}" for path in (DATA / "images").iterdir())
    for image in named:
        with Image.open(DATA / image) as picture:
            assert picture.size == (224, 224)
            colours = picture.convert("RGB").getcolors()
        assert colours is not None and len(colours) > 1, f"{image} is blank"


# --- no leaks ----------------------------------------------------------------------------------------------------


def test_an_entity_pair_is_in_one_split(splits):
    where = defaultdict(set)
    for name, split in splits.items():
        for head, _, tail in split:
            where[frozenset((head, tail))].add(name)
    assert not [pair for pair, names in where.items() if len(names) > 1]


def test_valid_and_test_are_seen_in_train(splits):
    train_entities = Counter(id for head, _, tail in splits["train"] for id in (head, tail))
    train_relations = {relation for _, relation, _ in splits["train"]}
    for head, relation, tail in splits["valid"] + splits["test"]:
        assert train_entities[head] >= 2 and train_entities[tail] >= 2 and relation in train_relations


def test_borders_are_symmetric_and_no_other_relation_has_an_inverse(triples):
    borders = {(head, tail) for head, relation, tail in triples if relation == "borders"}
    assert borders == {(tail, head) for head, tail in borders}
    overlaps = builder("audit").overlapping_relations(triples, least=0.01)
    assert [(one, other) for one, way, other, _ in overlaps if way == "reversed"] == [("borders", "borders")]


def simple_words(text):
    """Lower case, no accents, no punctuation, singular: written apart from the builder's own normalisation."""
    folded = unicodedata.normalize("NFKD", text.lower())
    letters = "".join(letter for letter in folded if not unicodedata.combining(letter))
    return [singular(word) for word in re.sub(r"[\W_]+", " ", letters).split()]


def singular(word):
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if re.search(r"(ch|sh|x|ss|z)es$", word):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def label_variants(entity):
    """The label, and what is left of it without the word that only tells its type."""
    label = entity["label"]
    yield label
    yield re.sub(r" \(.*\)$", "", label)
    yield re.sub(r" (languages|script)$", "", label)


def names_it(text, entity):
    padded, joined = f" {' '.join(simple_words(text))} ", set(simple_words(text))
    joined |= {one + other for one, other in zip(simple_words(text), simple_words(text)[1:], strict=False)}
    variants = [simple_words(name) for name in label_variants(entity)]
    return any(f" {' '.join(words)} " in padded or "".join(words) in joined for words in variants)


@pytest.mark.parametrize("split", SPLITS)
def test_no_text_names_a_neighbour(splits, entities, split):
    leaks = [
        (one, other, text)
        for head, _, tail in splits[split]
        for one, other in ((head, tail), (tail, head))
        for text in entities[one]["texts"]
        if names_it(text, entities[other])
    ]
    assert not leaks, f"{len(leaks)} texts name a neighbour: {leaks[:5]}"


def test_no_text_is_only_a_mask(entities):
    says_something = builder("texts").says_something
    assert all(says_something(text) for entity in entities.values() for text in entity["texts"])


# --- the builder -------------------------------------------------------------------------------------------------


def random_graph(seed, entity_count=60, triple_count=500):
    rng = random.Random(seed)
    names = [f"e{number}" for number in range(entity_count)]
    found = set()
    while len(found) < triple_count:
        head, tail = rng.sample(names, 2)
        relation = rng.choice(["likes", "near", "part"])
        found |= {(head, relation, tail), (tail, relation, head)} if relation == "near" else {(head, relation, tail)}
    return found


@pytest.mark.parametrize("seed", range(5))
def test_split_keeps_pairs_together_and_everything_in_train(seed):
    triples = random_graph(seed)
    split = builder("split").split_triples(triples)
    assert sorted(split.train + split.valid + split.test) == sorted(triples)
    pairs = [{frozenset((head, tail)) for head, _, tail in part} for part in (split.train, split.valid, split.test)]
    assert not (pairs[0] & pairs[1] or pairs[0] & pairs[2] or pairs[1] & pairs[2])
    seen = Counter(id for head, _, tail in split.train for id in (head, tail))
    assert all(seen[id] >= 2 for head, _, tail in split.valid + split.test for id in (head, tail))
    assert 0.1 < (len(split.valid) + len(split.test)) / len(triples) <= 0.2


def test_split_depends_on_the_triples_and_the_seed_only():
    split_triples = builder("split").split_triples
    triples = sorted(random_graph(0))
    assert split_triples(triples) == split_triples(reversed(triples))
    assert split_triples(triples) != split_triples(triples, seed="another")


@pytest.mark.parametrize(
    ("text", "names", "masked"),
    [
        ("Bordered by Russia to the north.", ["Russia"], "Bordered by (...) to the north."),
        ("Russia's neighbour.", ["Russia"], "(...)'s neighbour."),
        ("Any of several vehicles.", ["vehicle"], "Any of several (...)."),
        ("Berries, cherries and knives.", ["cherry", "knife"], "Berries, (...)."),
        ("A face that is smiling.", ["smile"], "A face that is (...)."),
        ("Made of ice-cream or icecream.", ["ice cream"], "Made of (...)."),
        ("A sun flower.", ["sunflower"], "A (...)."),
        ("The people of Cote d'Ivoire.", ["Côte d’Ivoire"], "The people of (...)."),
        ("A Germanic tongue.", ["German"], "A Germanic tongue."),
        ("Between France, Spain and Italy.", ["France", "Spain"], "Between (...) and Italy."),
        ("The United States of America.", ["United States", "America"], "The (...) of (...)."),
        ("(folklore) an elf.", ["folklore"], "(...) an elf."),
        ("Nothing to hide.", ["fish"], "Nothing to hide."),
    ],
)
def test_names_are_masked(text, names, masked):
    masking = builder("masking")
    assert masking.mask_names(text, names) == masked
    assert not masking.mentions(masking.mask_names(text, names), names)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("(...).", False), ("Also called (...), (...).", False), ("A (...) of the (...).", False), ("A red (...).", True)],
)
def test_a_sentence_needs_words_beside_its_masks(text, expected):
    assert builder("texts").says_something(text) is expected


def test_tautologies_and_loose_ends_are_dropped(monkeypatch):
    cleaning, graph = builder("cleaning"), builder("graph").Graph()
    graph.entity("c", "Hong Kong", "country")
    graph.entity("m", "Hong Kong dollar", "currency")
    graph.entity("k", "Danish krone", "currency")
    graph.entity("d", "Denmark", "country", ["Danish"])
    graph.add("c", "uses_currency", "m")
    graph.add("d", "uses_currency", "k")
    assert cleaning.tautologies(graph) == {("c", "uses_currency", "m")}
    monkeypatch.setattr(cleaning, "MIN_RELATION_TRIPLES", 2)
    ring = {("a", "borders", "b"), ("b", "borders", "c"), ("c", "borders", "a")}
    assert cleaning.without_loose_ends(ring | {("a", "borders", "z"), ("a", "is_a", "b")}) == ring


def test_first_difference_is_one_line(tmp_path):
    output = builder("output")
    for name in ("one", "other"):
        output.write_text(tmp_path / name / "train.txt", "a\tb\tc\n")
    assert output.first_difference(tmp_path / "one", tmp_path / "other") is None
    output.write_text(tmp_path / "other" / "train.txt", "a\tb\td\n")
    assert "train.txt differs" in output.first_difference(tmp_path / "one", tmp_path / "other")


def test_missing_npm_is_one_clear_line(tmp_path, monkeypatch):
    sources = builder("sources")
    monkeypatch.setattr(sources.shutil, "which", lambda name: None)
    with pytest.raises(sources.SourceError, match="npm is not installed"):
        sources.fetch_npm("openmoji", "17.0.0", tmp_path)


def test_sense_links_are_unique_and_well_formed():
    links = builder("concepts").read_sense_links()
    assert len({link.hexcode for link in links}) == len(links) > 1000
    assert all(link.synset is None or re.fullmatch(r".+\.n\.\d\d", link.synset) for link in links)


@pytest.mark.slow
def test_a_rebuild_gives_the_shipped_files():
    """Needs the network: downloads the pinned packages."""
    command = [sys.executable, str(ROOT / "scripts" / "build_pictokg.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
