"""`mmrns extract`: pictures and texts of a dataset become features."""

import argparse
import json
import sys
import time
import types
import typing
from dataclasses import fields
from pathlib import Path

from mmrns.features.options import ExtractOptions, flag_of
from mmrns.files import read_json

HELP = "encode the pictures and texts of a dataset's entities into features.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the command: one for each field of ExtractOptions."""
    parser.add_argument("dataset", metavar="DATASET", help="name or folder of a dataset")
    kinds = typing.get_type_hints(ExtractOptions)
    for option in fields(ExtractOptions):
        flag, text, kind = flag_of(option.name), option.metadata["help"].replace("%", "%%"), kinds[option.name]
        if kind is bool:
            parser.add_argument(flag, action="store_true", help=text)
            continue
        if option.default not in (None, ()):
            text += f" (default: {option.default})"
        several = typing.get_origin(kind) is tuple
        # "int | None" and "tuple[str, ...]" are read from the command line as int and as str.
        plain = next((part for part in typing.get_args(kind) if part not in (types.NoneType, ...)), kind)
        parser.add_argument(
            flag,
            type=plain,
            default=option.default,
            nargs="+" if several else None,
            choices=option.metadata.get("choices"),
            metavar=option.metadata.get("metavar"),
            help=text,
        )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON on standard output")


def run(arguments: argparse.Namespace) -> None:
    """Extract, then say what came out: encoders, shapes, how many entities have what, what not, and first faults."""
    from mmrns.features.extract import extract
    from mmrns.features.store import MANIFEST_FILE
    from mmrns.features.texts import names_left
    from mmrns.graph.dataset import load_dataset
    from mmrns.processes import launched

    given = {option.name: getattr(arguments, option.name) for option in fields(ExtractOptions)}
    given["image_model_options"] = tuple(given["image_model_options"])
    options = ExtractOptions(**given)
    dataset = load_dataset(arguments.dataset)
    started = time.perf_counter()
    path = extract(dataset, options)
    seconds = time.perf_counter() - started
    if not launched(options.device).main:
        return
    manifest_path = path.with_name(MANIFEST_FILE)
    manifest = read_json(manifest_path, "extract again with --overwrite")
    faults = manifest["faults"]
    if arguments.json:
        summary = {key: manifest[key] for key in ("entities", "modalities", "counts", "sha256")}
        summary |= {"path": str(path), "faults": len(faults), "seconds": round(seconds, 2)}
        json.dump(summary, sys.stdout, indent=2)
        print()
        return
    print(f"{path}: {_megabytes(path)}, {seconds:.1f} s")
    for name, entry in manifest["modalities"].items():
        count = manifest["counts"][name]
        shape = f"{entry['tokens']} x {entry['width']}"
        print(f"  {name}: {entry['encoder']}, {shape} tokens, {count} of {manifest['entities']} entities")
    beyond = {
        "text_left_out": f"texts beyond --text-tokens {options.text_tokens}",
        "image_left_out": f"pictures beyond --images-per-entity {options.images_per_entity}",
        "text_cut": "ends of texts that are longer than the encoder reads",
    }
    left_out = [f"{number:,} {what}" for key, what in beyond.items() if (number := manifest["counts"].get(key))]
    if left_out:
        print(f"  left out: {', '.join(left_out)}")
    wordless = len(names_left(dataset, options))
    if wordless:
        have = "entities have" if wordless > 1 else "entity has"
        mend = "--text-from names (with --overwrite) takes the words of their ids"
        print(f"  {wordless:,} {have} neither texts nor a label; {mend}")
    if faults:
        print(f"  {len(faults)} pictures could not be used (all in {manifest_path.name}):")
        for fault in faults[:5]:
            print(f"    {fault['entity']}: {fault['file']}: {fault['reason']}")


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"
