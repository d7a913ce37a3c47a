"""`mmrns import`: features as other projects publish them become features.safetensors."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HELP = "use published features: MMRNS .h5, AdaMF, NativE and MoMoK .pth, MyGO token .json with a codebook"

_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, a file a modality, and what leads from its names to the dataset's."""
    parser.add_argument("dataset", metavar="DATASET", help="name or folder of a dataset")
    for modality, usual in (("image", "all, or 8 of token ids"), ("text", "4")):
        parser.add_argument(
            f"--{modality}",
            type=Path,
            metavar="FILE",
            help=f"{modality} features: .h5 by name, .pth with rows in the order of --entities, or token ids in a "
            ".json (or its .zip)",
        )
        parser.add_argument(
            f"--{modality}-codebook",
            type=Path,
            metavar="FILE",
            help=f"vectors of the token ids in --{modality}, a .pth",
        )
        parser.add_argument(
            f"--{modality}-tokens",
            type=_positive,
            metavar="N",
            help=f"tokens an entity at most: the first N, of token ids the N most frequent (default: {usual})",
        )
    parser.add_argument(
        "--links",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="pairs of names for one thing, from those of the files to the dataset's: ent_links, DB15K_SameAsLink.txt, "
        "DB15K_ImageIndex.txt; may be given several times",
    )
    parser.add_argument(
        "--entities",
        type=Path,
        metavar="FILE",
        help="the authors' entity2id.txt, or names one a line: whose the rows of a .pth and numbers in a .json are "
        "(default: entity2id.txt in the dataset's folder)",
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="for the features; default: the dataset's own")
    parser.add_argument("--add", action="store_true", help="keep the other modality of features that are there already")
    parser.add_argument("--overwrite", action="store_true", help="replace features that are there already")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number, 1 or more")
    return number


def run(arguments: argparse.Namespace) -> None:
    """Import, then say what came out and what could not be placed."""
    from mmrns.errors import UserError
    from mmrns.features.mapped import MODALITIES
    from mmrns.features.published.importing import ImportOptions, import_features
    from mmrns.graph.dataset import load_dataset

    def by_modality(suffix: str) -> dict[str, Any]:
        given = {name: getattr(arguments, f"{name}{suffix}") for name in MODALITIES}
        return {name: value for name, value in given.items() if value is not None}

    files = by_modality("")
    if not files:
        raise UserError("--image, --text: give at least one file of features")
    for name in (name for suffix in ("_codebook", "_tokens") for name in by_modality(suffix) if name not in files):
        raise UserError(f"--{name}-codebook, --{name}-tokens: belong to --{name}; give that too, or leave them out")
    options = ImportOptions(
        files,
        by_modality("_codebook"),
        by_modality("_tokens"),
        tuple(arguments.links),
        arguments.entities,
        arguments.output,
        arguments.add,
        arguments.overwrite,
    )
    store = import_features(load_dataset(arguments.dataset), options)
    manifest = store.manifest
    if arguments.json:
        summary = {key: manifest[key] for key in ("entities", "modalities", "counts", "sha256")}
        json.dump(summary | {"path": str(store.path), "faults": manifest["faults"]}, sys.stdout, ensure_ascii=False)
        print()
        return
    print(f"{store.path}: {store.path.stat().st_size / 1e6:.1f} MB")
    for name in store.modalities:
        tokens, width = store.shape(name)
        print(f"  {name}: {tokens} x {width} tokens, {manifest['counts'][name]} of {manifest['entities']} entities")
        if name in files:
            print("\n".join(f"    {line}" for line in _lines(name, manifest)))


def _lines(name: str, manifest: dict[str, Any]) -> list[str]:
    """What became of a file's names."""
    entry = manifest["modalities"][name]
    names, file = entry["names"], entry["file"]["path"]
    faults = [f"{fault['entity']} ({fault['reason']})" for fault in manifest["faults"] if fault["modality"] == name]
    lines = [
        f"{file}: {names['in_file']} names, {names['matched']} matched, {names['matched_by_link']} of them by link"
    ]
    for title, listed in (
        ("belong to no entity", entry["unmatched"]),
        ("repeat another's entity", entry["repeated"]),
        ("cannot be used", faults),
    ):
        if listed:
            more = ", …" if len(listed) > _SHOWN else ""
            lines.append(f"{len(listed)} {title} (all in features.json): {', '.join(listed[:_SHOWN])}{more}")
    if missing := manifest["missing"][name]:
        lines.append(f"{len(missing)} entities have none (all in features.json), such as {', '.join(missing[:_SHOWN])}")
    if (same := entry["entities_with_the_same_array"]) > 1:
        lines.append(f"{same} entities share one array; if these are many, the authors filled gaps with it")
    return lines
