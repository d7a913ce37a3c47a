"""A slice of train in the place of a broken valid."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrns.config import Config
from mmrns.errors import UserError
from mmrns.graph import load_dataset
from mmrns.graph.answers import TAIL, Queries
from mmrns.graph.held_out import as_seen, dataset_of, hold_out, settle_validation, slice_sha256
from mmrns.graph.overlap import valid_overlap

TRAIN = [(f"e{a}", f"r{(a + b) % 3}", f"e{b}") for a in range(8) for b in range(8) if a != b]
TEST = [("e0", "r1", "e0"), ("e1", "r0", "e1"), TRAIN[5]]


def names(dataset, split):
    entities, relations = dataset.entities.ids, dataset.relations.ids
    return [(entities[h], relations[r], entities[t]) for h, r, t in dataset.split(split)]


def slow_slice(train, test, number, seed):
    """The slice, by its definition, one triple at a time."""

    def digest(triple):
        return hashlib.sha256("\t".join([str(seed), *triple]).encode()).digest()

    seen, chosen = set(), []
    for head, relation, tail in sorted(set(train), key=digest):
        met = {("entity", head), ("entity", tail), ("relation", relation)}
        if met <= seen and (head, relation, tail) not in test:
            chosen.append((head, relation, tail))
        seen |= met
    return chosen[:number], len(chosen)


@settings(max_examples=40)
@given(
    train=st.lists(
        st.tuples(*(st.sampled_from("abcdefg"), st.sampled_from("rst"), st.sampled_from("abcdefg"))), min_size=1
    ),
    seed=st.integers(0, 5),
    amount=st.one_of(st.integers(1, 6), st.sampled_from([0.1, 0.3])),
)
def test_the_slice_is_its_definition(tmp_path_factory, train, seed, amount):
    folder = tmp_path_factory.mktemp("graph")
    for split, triples in (("train", train), ("valid", train[:1]), ("test", train[-2:])):
        (folder / f"{split}.txt").write_text("".join("\t".join(t) + "\n" for t in triples))
    dataset = load_dataset(folder)
    number = round(amount * len(set(train))) if amount < 1 else amount
    expected, spare = slow_slice(train, train[-2:], number, seed)
    if not 0 < number <= spare:
        with pytest.raises(UserError, match=rf"--held-out {amount}: .* {spare} can leave"):
            hold_out(dataset, amount, seed)
        return
    seen = hold_out(dataset, amount, seed)
    assert sorted(names(seen, "valid")) == sorted(expected)
    assert names(seen, "train") == [triple for triple in train if triple not in expected]  # all copies, in file order
    assert names(seen, "test") == train[-2:]
    assert (seen.seen == dataset.seen).all()
    assert set(seen.train[:, 1]) == set(dataset.train[:, 1])


def test_what_valid_held_stays_known_and_nothing_is_forgotten(write_dataset):
    dataset = load_dataset(write_dataset(TRAIN, [("e2", "r2", "e2"), TRAIN[0]], TEST))
    seen = hold_out(dataset, 10, 0)
    assert len(seen.valid) == 10
    assert not set(names(seen, "valid")) & (set(names(seen, "train")) | set(TEST))
    everything, before = seen.answers(), dataset.answers()
    assert everything.queries().tolist() == before.queries().tolist()
    assert everything.answers.tolist() == before.answers.tolist()
    # The triple that valid.txt alone holds is known as valid's, and is neither trained on nor ranked.
    row = seen.entities.row["e2"]
    triple = np.array([[row, seen.relations.row["r2"], row]])
    queries = Queries.of(torch.from_numpy(triple), TAIL)
    assert seen.listed(queries)[row] == dataset.listed(queries)[row] == "valid"
    assert ("e2", "r2", "e2") not in names(seen, "train") + names(seen, "valid")


def test_a_slice_depends_on_its_seed_and_on_no_order_of_lines(write_dataset):
    one = hold_out(load_dataset(write_dataset(TRAIN, None, TEST)), 0.2, 7)
    other = hold_out(load_dataset(write_dataset(TRAIN[::-1] + TRAIN[:3], None, TEST)), 0.2, 7)
    assert slice_sha256(one) == slice_sha256(other)
    assert slice_sha256(one) != slice_sha256(hold_out(load_dataset(write_dataset(TRAIN, None, TEST)), 0.2, 8))
    # The fingerprint is that of the sorted lines: a run can be compared with a slice made elsewhere.
    text = "".join("\t".join(triple) + "\n" for triple in sorted(names(one, "valid")))
    assert slice_sha256(one) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("repeats", "options", "settled"),
    [
        (4, {}, "held-out"),
        (1, {}, "published"),  # 1 of 10 is not more than a tenth
        (4, {"validation": "published"}, "published"),
        (0, {"validation": "held-out"}, "held-out"),
        (4, {"selection": "last"}, "published"),
        (4, {"selection": "last", "validation": "held-out"}, "held-out"),
        (4, {"protocol": "published"}, "published"),
    ],
)
def test_auto_holds_out_where_valid_is_broken_and_something_is_selected(write_dataset, repeats, options, settled):
    fresh = [(f"e{n}", "r0", f"e{n}") for n in range(2, 12)]
    folder = write_dataset([*TRAIN, *((f"e{n}", "r1", "e0") for n in range(8, 12))], TRAIN[:repeats] + fresh[repeats:])
    config = Config(dataset=str(folder), **options)
    dataset = load_dataset(folder)
    assert valid_overlap(dataset).broken == (repeats > 1)
    found, why = settle_validation(config, dataset)
    assert found.validation == settled
    assert bool(why) == (settled == "held-out" and not options)
    assert "\n" not in why
    if why:
        assert f"valid.txt: broken (10 rows, 10 distinct triples: {repeats} (40.0 %) lie in train" in why
    seen = dataset_of(config)
    assert names(seen, "valid") == names(as_seen(found, dataset), "valid")
    assert (len(seen.train) < len(dataset.train)) == (settled == "held-out")


def test_the_published_protocol_goes_with_nothing_selected():
    config = Config(protocol="published")
    assert (config.selection, config.validation) == ("last", "published")
    assert Config(**config.model_dump()) == config
    for options in ({"selection": "best"}, {"validation": "held-out"}, {"patience": 3}):
        with pytest.raises(ValueError, match="--p"):
            Config(protocol="published", **options)
