"""What a run selects on: the dataset's valid, or a slice held out of train where valid is broken."""

import dataclasses
import hashlib

import numpy as np

from mmrns.config import Config
from mmrns.errors import UserError
from mmrns.files import sha256
from mmrns.graph.dataset import Dataset, load_dataset
from mmrns.graph.findings import Facts, Rows
from mmrns.graph.overlap import valid_overlap


def settle_validation(config: Config, dataset: Dataset) -> tuple[Config, str]:
    """--validation auto, decided for a dataset as it is on disk.

    A slice is held out where valid is broken and there is something to select; all else keeps valid.txt.

    Returns:
        The configuration with "published" or "held-out", and one line on why a slice is held out ("" where none is,
        or where it was asked for).
    """
    if config.validation != "auto":
        return config, ""
    found = valid_overlap(dataset) if config.selection == "best" else None
    if found is None or not found.broken:
        return config.model_copy(update={"validation": "published"}), ""
    return config.model_copy(update={"validation": "held-out"}), (
        f"{dataset.folder / dataset.files.name('valid')}: broken ({found}); the checkpoint is selected on a slice "
        "held out of train instead (--validation published keeps that file)"
    )


def dataset_of(config: Config) -> Dataset:
    """The dataset as a run sees it, its valid replaced where --validation says so.

    Raises:
        UserError: as `load_dataset` and `hold_out`.
    """
    dataset = load_dataset(config.dataset, "--dataset")
    config, _ = settle_validation(config, dataset)
    return as_seen(config, dataset)


def as_seen(config: Config, dataset: Dataset) -> Dataset:
    """`dataset_of` for a dataset that is read already and a configuration that is settled."""
    return hold_out(dataset, config.held_out, config.held_out_seed) if config.validation == "held-out" else dataset


def hold_out(dataset: Dataset, amount: float, seed: int) -> Dataset:
    """Replace valid by a slice of train.

    Distinct train triples are put in the order of the SHA-256 of "seed TAB head TAB relation TAB tail" (ids), which
    depends on nothing else: not on the run's seed, the order of lines, a library or a machine. The first triple of
    every entity and relation in this order stays in train, so that each keeps one; triples that test holds too stay as
    well, so that valid and test are disjoint. The slice is the first `amount` of the rest. All copies of a triple leave
    train with it. The valid that is replaced stays known for filtering (`Dataset.unused`).

    Args:
        amount: below 1 the share of the distinct train triples, otherwise their number.

    Raises:
        UserError: the slice would be empty, or larger than what can be spared.
    """
    facts = Facts(dataset)
    distinct = facts.distinct_keys("train")
    number = round(amount * len(distinct)) if amount < 1 else int(amount)
    order = _order(dataset, facts.triples_of(distinct), seed)
    ordered = facts.triples_of(distinct[order])
    spare = np.ones(len(order), dtype=bool)
    spare[_first_of_each(ordered[:, [0, 2]])] = False
    spare[_first_of_each(ordered[:, [1]])] = False
    spare &= ~np.isin(distinct[order], facts.distinct_keys("test"))
    if not 0 < number <= spare.sum():
        raise UserError(
            f"--held-out {amount:g}: {number:,} of {len(distinct):,} distinct train triples, while {spare.sum():,} can "
            "leave with one left to every entity and relation; give another amount, or --validation published"
        )
    held = np.sort(distinct[order][spare][:number])
    return dataclasses.replace(
        dataset,
        train=dataset.train[~np.isin(facts.keys("train"), held)],
        valid=facts.triples_of(held),
        unused=np.concatenate([dataset.unused, dataset.valid]),
    )


def slice_sha256(dataset: Dataset) -> str:
    """Fingerprint of a run's valid: SHA-256 of its triples' lines (ids, tab-separated), sorted."""
    return sha256(sorted(dataset.lines("valid")))


def _order(dataset: Dataset, triples: Rows, seed: int) -> Rows:
    digests = [hashlib.sha256(f"{seed}\t{line}".encode()).digest() for line in dataset.as_lines(triples)]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)


def _first_of_each(columns: Rows) -> Rows:
    """The first row in which each id of (N, C) columns occurs."""
    _, first = np.unique(columns.ravel(), return_index=True)
    return np.unique(first // columns.shape[1])
