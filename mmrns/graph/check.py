"""What may be wrong with a dataset. Nothing here changes it.

A check is a function of `Facts` that gives findings; `@check` is all it takes to add one.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mmrns.errors import shortened
from mmrns.files import file_inside
from mmrns.graph import header, overlap  # noqa: F401 - each registers its check
from mmrns.graph.dataset import ENTITY_FIELDS, RELATION_FIELDS, SPLITS, Dataset
from mmrns.graph.findings import CHECKS, EXAMPLES, Facts, Finding, Severity, check, share
from mmrns.graph.relatedness import related_relations, reversed_pairs
from mmrns.graph.statistics import CATEGORIES, relation_categories

# Two relations are near inverses, or near duplicates, when this share of the distinct triples of one has its
# counterpart in the other. The threshold is that of Akrami et al. (SIGMOD 2020), who ask it of both; one is enough for
# a leak.
NEAR = 0.8
# A relation of fewer distinct triples is not judged: such a share would be chance.
FEWEST_TRIPLES = 10


def check_dataset(dataset: Dataset) -> list[Finding]:
    """Every finding of every check about the graph itself (`features.check` looks at features)."""
    facts = Facts(dataset)
    return [finding for function in CHECKS for finding in function(facts)]


def summarize(dataset: Dataset) -> dict[str, Any]:
    """Sizes of a dataset, and how much of it people and encoders can see.

    Categories count the relations of train; the mean degree counts distinct train triples.
    """
    facts = Facts(dataset)
    in_train = np.unique(dataset.train[:, 1])
    categories = np.bincount(relation_categories(dataset.train, len(dataset.relations))[in_train], minlength=4)
    records = [dataset.records.get(identifier, {}) for identifier in dataset.entities.ids]
    return {
        "entities": len(dataset.entities),
        "relations": len(dataset.relations),
        "triples": {split: len(dataset.split(split)) for split in SPLITS},
        "distinct_triples": {split: len(facts.distinct_keys(split)) for split in SPLITS},
        "relation_categories": dict(zip(CATEGORIES, categories.tolist(), strict=True)),
        "mean_degree": round(2 * len(facts.distinct_keys("train")) / len(dataset.entities), 3),
        "listed_entities": {
            key: sum(bool(record.get(key)) for record in records) for key in ("label", "type", "images", "texts")
        },
    }


@check
def duplicate_triples(facts: Facts) -> Iterator[Finding]:
    """A triple that stands twice in one split."""
    for split in SPLITS:
        keys, order = facts.sorted_keys(split)
        repeats = np.sort(order[1:][keys[1:] == keys[:-1]])
        if not len(repeats):
            continue
        triples, files = facts.dataset.split(split), facts.dataset.files
        first = order[np.searchsorted(keys, facts.keys(split)[repeats[:EXAMPLES]])]
        rows, distinct = len(keys), len(keys) - len(repeats)
        yield Finding(
            "duplicate-triples",
            "warning",
            facts.dataset.files.name(split),
            len(repeats),
            f"{rows:,} rows, {distinct:,} distinct: {share(len(repeats), rows)} repeat an earlier line and count "
            "more than once; remove the repeats unless that is meant",
            [
                f"{files.place(split, again)} repeats line {before + files.first_line}: {facts.triple(triples[again])}"
                for again, before in zip(repeats[:EXAMPLES], first, strict=True)
            ],
            {"rows": rows, "distinct": distinct},
        )


@check
def mirrored_relations(facts: Facts) -> Iterator[Finding]:
    """Relations that give each other away: near inverses, near duplicates; and those that are their own inverse."""
    relations = facts.dataset.relations
    for swapped in (True, False):
        shares = {
            (first, second): (part, number)
            for first, second, part, number in related_relations(facts.distinct, len(relations), swapped)
            if part >= NEAR and number >= FEWEST_TRIPLES
        }
        for code, own in (("symmetric-relations", True), ("inverse-relations", False)):
            chosen = {pair: found for pair, found in shares.items() if (pair[0] == pair[1]) == own}
            if not chosen:
                continue
            if not swapped:
                code = "duplicate-relations"
            pairs = {(min(pair), max(pair)) for pair in chosen}
            leak = {
                split: reversed_pairs(facts.dataset.split(split), facts.dataset.train, pairs, swapped)
                for split in ("valid", "test")
            }
            what = {
                "symmetric-relations": "relations that hold in both directions",
                "inverse-relations": "pairs of relations that are near inverses",
                "duplicate-relations": "pairs of relations that hold between the same entities",
            }[code]
            counterpart = "inverse" if swapped else "twin"
            leaks = " and ".join(
                f"{share(number, len(facts.dataset.split(split)))} triples in {split}" for split, number in leak.items()
            )
            mend = "a symmetric score is enough for these" if own else "keep one relation of each, or both in one split"
            strongest = sorted(chosen.items(), key=lambda found: (-found[1][1], found[0]))[:EXAMPLES]
            yield Finding(
                code,
                "note" if own else "warning",
                "all splits",
                len(pairs),
                f"{what} (at least {NEAR:.0%} of one's triples): {len(pairs):,}; {leaks} have their {counterpart} in "
                f"train, so that a rule answers them; {mend}",
                [
                    f"{relations.labels[first]} -> {relations.labels[second]}: {part:.1%} of {number:,} triples"
                    for (first, second), (part, number) in strongest
                ],
                {"threshold": NEAR, "valid": leak["valid"], "test": leak["test"]},
            )


@check
def unseen_in_train(facts: Facts) -> Iterator[Finding]:
    """Entities and relations of valid and test without a train triple."""
    seen_relation = np.zeros(len(facts.dataset.relations), dtype=bool)
    seen_relation[facts.dataset.train[:, 1]] = True
    for code, columns, seen, vocabulary, mend in (
        (
            "unseen-entities",
            [0, 2],
            facts.dataset.seen,
            facts.dataset.entities,
            'look at the "unseen" part of the metrics; only pictures and texts tell a model about them',
        ),
        (
            "unseen-relations",
            [1],
            seen_relation,
            facts.dataset.relations,
            "move some of their triples to train: nothing can be learned about them",
        ),
    ):
        for split in ("valid", "test"):
            triples = facts.dataset.split(split)
            unseen = ~seen[triples[:, columns]]
            rows = np.flatnonzero(unseen.any(axis=1))
            if not len(rows):
                continue
            names = len(np.unique(triples[:, columns][unseen]))
            yield Finding(
                code,
                "warning",
                facts.dataset.files.name(split),
                len(rows),
                f"triples with {'an entity' if len(columns) == 2 else 'a relation'} that train never shows: "
                f"{share(len(rows), len(triples))}, {names:,} different; {mend}",
                facts.examples(split, rows),
                {"triples": len(rows), "share": round(len(rows) / len(triples), 6), vocabulary.kind: names},
            )


@check
def self_loops(facts: Facts) -> Iterator[Finding]:
    """Triples whose head is their tail."""
    for split in SPLITS:
        triples = facts.dataset.split(split)
        rows = np.flatnonzero(triples[:, 0] == triples[:, 2])
        if len(rows):
            explanation = f"triples from an entity to itself: {share(len(rows), len(triples))}; check that it is so"
            yield Finding(
                "self-loops",
                "note",
                facts.dataset.files.name(split),
                len(rows),
                explanation,
                facts.examples(split, rows),
                {},
            )


def _plain(identifier: str) -> str:
    """Without what is hard to see: white space around and repeated, and the choice of Unicode form."""
    return " ".join(unicodedata.normalize("NFC", identifier).split())


@check
def untidy_ids(facts: Facts) -> Iterator[Finding]:
    """Ids with white space around them, and ids that differ by next to nothing."""
    for vocabulary in (facts.dataset.entities, facts.dataset.relations):
        where = f"{vocabulary.kind} ids"
        loose = [row for row, identifier in enumerate(vocabulary.ids) if identifier != identifier.strip()]
        if loose:
            yield Finding(
                "id-white-space",
                "warning",
                where,
                len(loose),
                f"ids that begin or end in white space: {len(loose):,}; it is part of the name, so remove it",
                [f"{facts.first_line(vocabulary, row)}: {vocabulary.ids[row]!r}" for row in loose[:EXAMPLES]],
            )
        hidden = _alike(vocabulary.ids, _plain)
        cased = [
            rows
            for rows in _alike(vocabulary.ids, lambda identifier: _plain(identifier).casefold())
            if len({_plain(vocabulary.ids[row]) for row in rows}) > 1
        ]
        found: tuple[tuple[str, Severity, list[list[int]], str], ...] = (
            ("ids-alike", "warning", hidden, "white space or Unicode form"),
            ("ids-alike-but-case", "note", cased, "upper and lower case"),
        )
        for code, severity, groups, difference in found:
            if groups:
                yield Finding(
                    code,
                    severity,
                    where,
                    len(groups),
                    f"groups of ids that differ only by {difference}: {len(groups):,}; give each thing one id, unless "
                    "they are different things",
                    [
                        " / ".join(f"{vocabulary.ids[row]!r} ({facts.first_line(vocabulary, row)})" for row in rows[:3])
                        for rows in groups[:EXAMPLES]
                    ],
                )


def _alike(names: list[str], form: Callable[[str], str]) -> list[list[int]]:
    """Rows of the names that share a form with another name, grouped."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        rows[form(name)].append(row)
    return [group for group in rows.values() if len(group) > 1]


@check
def records_and_triples(facts: Facts) -> Iterator[Finding]:
    """Entities that only one of entities.jsonl and the triples knows."""
    dataset = facts.dataset
    if not dataset.records:
        return
    known = dataset.entities.row
    idle = [(line, name) for line, name in enumerate(dataset.records, start=1) if name not in known]
    if idle:
        yield Finding(
            "records-without-triple",
            "note",
            "entities.jsonl",
            len(idle),
            f"ids that occur in no triple: {len(idle):,} of {len(dataset.records):,}, neither trained nor ranked; "
            "check their spelling, or leave them",
            [f"entities.jsonl:{line}: {name!r}" for line, name in idle[:EXAMPLES]],
        )
    missing = [row for row, identifier in enumerate(dataset.entities.ids) if identifier not in dataset.records]
    if missing:
        yield Finding(
            "entities-without-record",
            "warning",
            "entities.jsonl",
            len(missing),
            f"entities of the triples without a line: {share(len(missing), len(known))}, so no label, text or "
            "picture; add a line for each",
            [f"{facts.first_line(dataset.entities, row)}: {dataset.entities.ids[row]!r}" for row in missing[:EXAMPLES]],
        )


@check
def unknown_fields(facts: Facts) -> Iterator[Finding]:
    """Fields of entities.jsonl and relations.jsonl that nothing reads: misspelt ones above all."""
    dataset = facts.dataset
    for file, records, known in (
        ("entities.jsonl", dataset.records, ENTITY_FIELDS),
        ("relations.jsonl", dataset.relation_records, RELATION_FIELDS),
    ):
        fields = [sorted(record.keys() - known) for record in records.values()]
        counts = Counter(name for unknown in fields for name in unknown)
        if not counts:
            continue
        listed = ", ".join(f"{name} ({number:,} line{'s' * (number > 1)})" for name, number in counts.most_common())
        found = [(line, unknown) for line, unknown in enumerate(fields, start=1) if unknown]
        ids = list(records)
        yield Finding(
            "unknown-fields",
            "note",
            file,
            len(found),
            f"fields that are not read: {shortened(listed, 200)}; known are {', '.join(known)}",
            [f"{file}:{line}: {ids[line - 1]!r}: {', '.join(unknown)}" for line, unknown in found[:EXAMPLES]],
            {"lines": dict(counts)},
        )


@check
def missing_pictures(facts: Facts) -> Iterator[Finding]:
    """Pictures that entities.jsonl names and the folder lacks."""
    listed, missing = 0, []
    for line, (identifier, record) in enumerate(facts.dataset.records.items(), start=1):
        for file in record.get("images") or []:
            listed += 1
            try:
                file_inside(facts.dataset.folder, file)
            except ValueError as fault:
                missing.append(f"entities.jsonl:{line}: {identifier}: {shortened(file, 100)}: {fault}")
    if missing:
        yield Finding(
            "missing-images",
            "error",
            "entities.jsonl",
            len(missing),
            f"pictures that are not in the dataset folder: {share(len(missing), listed)} of {listed:,}; add the "
            "files or take them off the list",
            missing[:EXAMPLES],
            {"listed": listed},
        )


@check
def shared_labels(facts: Facts) -> Iterator[Finding]:
    """Labels that mean several ids, as `--head` and `--relation` read them (case ignored)."""
    for vocabulary in (facts.dataset.entities, facts.dataset.relations):
        groups = [
            rows
            for rows in _alike(vocabulary.labels, str.casefold)
            if any(vocabulary.labels[row] != vocabulary.ids[row] for row in rows)
        ]
        if groups:
            yield Finding(
                "shared-labels",
                "note",
                f"{vocabulary.kind} labels",
                len(groups),
                f"labels shared by several ids: {len(groups):,}; ask for those by id, or tell the labels apart",
                [
                    f"{vocabulary.labels[rows[0]]}: {', '.join(vocabulary.ids[row] for row in rows[:EXAMPLES])}"
                    for rows in groups[:EXAMPLES]
                ],
            )
