"""A first line that names the columns of a table: read as a triple, it is trained on and ranked."""

from collections.abc import Iterator

import numpy as np

from mmrns.graph.dataset import SPLITS, Dataset
from mmrns.graph.findings import Facts, Finding, check
from mmrns.graph.triples import NAMES

_TITLES = (
    {"head", "subject", "h", "source"},
    {"relation", "predicate", "r", "rel", "property"},
    {"tail", "object", "t", "target"},
)
"""What people call the columns of triples, in lower case."""


@check
def header_line(facts: Facts) -> Iterator[Finding]:
    """Splits that begin with the titles of their columns, or all with one line whose names occur nowhere else.

    It is an error where nothing but such lines has these names; a graph may hold a thing called "source", too.
    """
    dataset = facts.dataset
    if dataset.files is not NAMES:
        return
    first = {split: tuple(dataset.split(split)[0].tolist()) for split in SPLITS}
    titled = [split for split in SPLITS if _are_titles(dataset, first[split])]
    same = not titled and len(set(first.values())) == 1 and len(dataset.train) > 1
    headers = list(SPLITS) if same else titled
    alone = bool(headers) and _occur_there_alone(dataset, {split: first[split] for split in headers})
    if not titled and not alone:
        return
    sure, names = bool(titled) and alone, _names(dataset, first[headers[0]])
    yield Finding(
        "header-line",
        "error" if sure else "warning",
        ", ".join(map(dataset.files.name, headers)),
        len(headers),
        f"{dataset.files.place(headers[0], 0)}: looks like a header ({', '.join(names)}); remove the line from each "
        f"file{', unless it is a triple' * (not sure)}",
        [f"{dataset.files.place(split, 0)}: {facts.triple(dataset.split(split)[0])}" for split in headers],
    )


def _are_titles(dataset: Dataset, triple: tuple[int, ...]) -> bool:
    names = [name.strip("# \"'").casefold() for name in _names(dataset, triple)]
    return all(name in titles for name, titles in zip(names, _TITLES, strict=True))


def _names(dataset: Dataset, triple: tuple[int, ...]) -> tuple[str, str, str]:
    head, relation, tail = triple
    return dataset.entities.ids[head], dataset.relations.ids[relation], dataset.entities.ids[tail]


def _occur_there_alone(dataset: Dataset, lines: dict[str, tuple[int, ...]]) -> bool:
    """Whether no row but the first of these splits has one of the names there."""
    ends = np.unique([row[end] for row in lines.values() for end in (0, 2)])
    relations = np.unique([row[1] for row in lines.values()])
    for split in SPLITS:
        rest = dataset.split(split)[1 if split in lines else 0 :]
        if np.isin(rest[:, [0, 2]], ends).any() or np.isin(rest[:, 1], relations).any():
            return False
    return True
