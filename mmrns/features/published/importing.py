"""From published files to features.safetensors and features.json."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmrns.errors import UserError
from mmrns.features.digests import file_sha256
from mmrns.features.mapped import MODALITIES
from mmrns.features.published.matching import Matcher, Matches, read_links
from mmrns.features.published.sources import SUFFIXES, Source, open_source
from mmrns.features.store import FEATURES_FILE, FeatureStore
from mmrns.graph.dataset import Dataset
from mmrns.graph.openke import ENTITIES, read_order

_LARGEST_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class ImportOptions:
    """What is imported.

    Attributes:
        files: file of each modality, "image" or "text".
        codebooks: vectors of token ids, by modality.
        tokens: tokens an entity at most, by modality; default: text 4, image all, or 8 of token ids.
        links: files that lead from the names in the files to the dataset's.
        entities: the authors' entity2id.txt, or a file of names, one a line; None: that of the dataset's folder.
        output: folder of the features; None: the dataset's own.
        add: keep the other modality of features that are there already.
        overwrite: replace features that are there already.
    """

    files: dict[str, Path]
    codebooks: dict[str, Path] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    links: tuple[Path, ...] = ()
    entities: Path | None = None
    output: Path | None = None
    add: bool = False
    overwrite: bool = False


def import_features(dataset: Dataset, options: ImportOptions) -> FeatureStore:
    """Write the features of a dataset from published files.

    Nothing is passed over in silence: names of the file without an entity, arrays that cannot be used and names that
    repeat another's entity are counted and listed in the manifest, entities without an array under "missing".
    Tokens of nothing but zeros, which stand for what is absent in published matrices, become absent tokens.

    Raises:
        UserError: a file that is missing or damaged, names of which none is an entity of the dataset, or features that
            are there already.
    """
    folder = options.output or dataset.folder
    kept = _kept(dataset, folder, options)
    order = _order(dataset, options.entities)
    links = [pair for path in options.links for pair in read_links(path)]
    matcher = Matcher(dataset.entities.ids, links, order)
    arrays: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    manifest: dict[str, Any] = {"modalities": {}, "counts": {}, "faults": []}
    for name in (name for name in MODALITIES if name in options.files):
        path, codebook, limit = options.files[name], options.codebooks.get(name), _tokens_at_most(name, options)
        with open_source(path, f"--{name}", order, codebook, limit) as source:
            matches = matcher.match(source.names)
            if not matches.rows:
                raise UserError(
                    f"--{name} {path}: none of its {len(source.names)} names, such as {source.names[0]}, is an entity "
                    f"of {dataset.name}, such as {dataset.entities.ids[0]}; give --links or --entities"
                )
            values, mask, faults = _gather(source, matches, len(dataset.entities), limit)
        arrays[name] = values, mask
        described = _described(source, matches, values, mask, codebook)
        manifest["modalities"][name] = described
        manifest["counts"] |= {f"{name}_{key}": number for key, number in described["names"].items()}
        manifest["faults"] += [{"modality": name, **fault} for fault in (*source.faults, *faults)]
    if kept is not None:
        for name in (name for name in kept.modalities if name not in arrays):
            arrays[name] = kept.arrays(name)
            manifest["modalities"][name] = kept.manifest["modalities"][name]
            own = {key: number for key, number in kept.manifest["counts"].items() if key.startswith(f"{name}_")}
            manifest["counts"] |= own
            manifest["faults"] += [fault for fault in kept.manifest["faults"] if fault.get("modality", "image") == name]
    try:
        return FeatureStore.write(dataset, arrays, folder, manifest)
    except ValueError as error:
        if kept is None:
            raise
        # Arrays of the files are checked already.
        raise UserError(f"{kept.path}: cannot be kept ({error}); give --overwrite without --add") from error


def _kept(dataset: Dataset, folder: Path, options: ImportOptions) -> FeatureStore | None:
    """Features that are there and go on; UserError when they may neither go on nor be replaced."""
    if not (folder / FEATURES_FILE).exists() or (options.overwrite and not options.add):
        return None
    if not options.add:
        raise UserError(
            f"{folder / FEATURES_FILE}: exists; give --add to keep its other modality, --overwrite, or another --output"
        )
    store = FeatureStore.open(dataset, folder)
    both = [name for name in store.modalities if name in options.files]
    if both and not options.overwrite:
        raise UserError(f"{store.path}: has {both[0]} features already; give --overwrite too, to replace them")
    return store


def _order(dataset: Dataset, path: Path | None) -> list[str] | None:
    """Names by the authors' numbers, or None where nothing gives them."""
    own = dataset.folder / ENTITIES
    if path is None:
        return read_order(own) if own.is_file() else None
    return read_order(path)


def _tokens_at_most(name: str, options: ImportOptions) -> int | None:
    """Tokens an entity, where nothing is said as in the programs that the files were made for."""
    if (said := options.tokens.get(name)) is not None:
        return said
    of_ids = SUFFIXES.get(options.files[name].suffix.lower()) == "tokens"
    return 4 if name == "text" else 8 if of_ids else None


def _gather(
    source: Source, matches: Matches, entities: int, limit: int | None
) -> tuple[np.ndarray, np.ndarray, list[dict[str, str]]]:
    """Values (E, n, D) fp16, mask (E, n), and the faults of arrays that cannot be used."""
    most = max(source.shapes[number][0] for number in matches.rows)
    tokens = min(most, limit or most)
    values = np.zeros((entities, tokens, source.width), dtype=np.float16)
    mask = np.zeros((entities, tokens), dtype=bool)
    faults = []
    for number, rows in matches.rows.items():
        array = source.read(number)[:tokens]
        if not np.isfinite(array).all() or np.abs(array).max() > _LARGEST_HALF:
            faults.append({"entity": source.names[number], "reason": "holds values that are not finite in fp16"})
            continue
        values[rows, : len(array)] = array
        mask[rows, : len(array)] = array.any(axis=1)
    return values, mask, faults


def _described(
    source: Source, matches: Matches, values: np.ndarray, mask: np.ndarray, codebook: Path | None
) -> dict[str, Any]:
    """What the manifest says of a modality."""
    file = {"path": source.path.name, "form": source.form, "sha256": file_sha256(source.path)}
    names = {
        "in_file": len(source.names) + len(source.faults),
        "matched": len(matches.rows),
        "matched_by_link": len(matches.by_link),
        "unmatched": len(matches.unmatched),
        "repeated": len(matches.repeated),
    }
    described: dict[str, Any] = {
        "encoder": f"imported from {source.path.name}",
        "file": file,
        "names": names,
        "unmatched": matches.unmatched,
        "repeated": matches.repeated,
        "entities_with_the_same_array": _most_common_array(values, mask),
        "source_tokens": max(tokens for tokens, _ in source.shapes),
        "source_width": source.width,
    }
    if codebook is not None:
        described["codebook"] = {"path": codebook.name, "sha256": file_sha256(codebook)}
    return described


def _most_common_array(values: np.ndarray, mask: np.ndarray) -> int:
    """Entities that share the most frequent array; many mean that the authors filled what was missing with it."""
    counts = Counter(hash(values[row].tobytes()) for row in np.flatnonzero(mask.any(axis=1)))
    return max(counts.values(), default=0)
