"""`mmrns fetch NAME`: where a published dataset's files are obtained, and whether those in place are the right ones."""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mmrns.errors import UserError

if TYPE_CHECKING:
    from mmrns.features.published.catalogue import Origin, PublishedDataset
    from mmrns.features.published.placed import Placed

HELP = "say where each file of a benchmark dataset is obtained, and verify what was placed; downloads nothing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME, --folder, --json."""
    parser.add_argument("name", metavar="NAME", help="DB15K, MKG-W or MKG-Y")
    parser.add_argument(
        "--folder", type=Path, metavar="FOLDER", help="where its files are placed (default: as --dataset NAME is found)"
    )
    parser.add_argument("--json", action="store_true", help="print origins and findings as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Print both; end with an error when a placed file is wrong."""
    from mmrns.features.published.catalogue import published_dataset
    from mmrns.features.published.placed import check_placed

    published = published_dataset(arguments.name)
    folder = arguments.folder or _folder(published.name)
    placed = check_placed(published, folder)
    if arguments.json:
        known = asdict(published) | {"folder": str(folder), "placed": [asdict(found) for found in placed]}
        print(json.dumps(known, indent=2, ensure_ascii=False))
    else:
        print(as_text(published, folder, placed))
    for found in placed:
        if found.state == "wrong":
            raise UserError(found.detail)


def _folder(name: str) -> Path:
    """The folder of the dataset; where there is none, that which it should have."""
    from mmrns.graph.dataset import dataset_folder

    try:
        return dataset_folder(name)
    except UserError:
        return Path(os.environ.get("MMRNS_DATA") or "data") / name


def as_text(published: "PublishedDataset", folder: Path, placed: "list[Placed]") -> str:
    """Origins and findings for people."""
    from mmrns.features.published.catalogue import TRIPLES
    from mmrns.report.tables import markdown_table

    counts = ", ".join(f"{number:,} {key}" for key, number in published.counts.items())
    parts = [
        f"{published.name}: {published.about}\n{counts}",
        f"Place the files in {folder} under these names, and run the commands there; nothing is downloaded for you.",
        _entry("triples", f"{', '.join(TRIPLES)} (or train.txt, valid.txt, test.txt)", [published.triples_origin])
        + f"\n  then: mmrns check {published.name}",
    ]
    for file in published.files:
        then = f"\n  then: {file.command}" if file.command else ""
        parts.append(_entry(file.what, file.name, file.origins) + then)
    if published.texts:
        parts.append(f"texts from names, without any of these files\n  {published.texts}")
    rows = [[found.file, found.state, found.detail] for found in placed if found.state != "missing"]
    parts.append(markdown_table(["file in place", "state", "detail"], rows) if rows else "None of them is in place.")
    return "\n\n".join(parts)


def _entry(what: str, name: str, origins: "list[Origin] | tuple[Origin, ...]") -> str:
    lines = [f"{what}: {name}"]
    for origin in origins:
        lines.append(f"  by {origin.by}, {origin.page}")
        lines.append(f"  at {origin.at}; licence: {origin.licence}")
    return "\n".join(lines)
