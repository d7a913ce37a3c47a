"""From pictures and texts to features.safetensors and features.json."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tqdm import tqdm

from mmrns.errors import UserError
from mmrns.features.options import ExtractOptions
from mmrns.features.partial import PartialTokens, open_partial
from mmrns.features.pooling import TokenPca
from mmrns.features.spans import Encoded, Span, spans
from mmrns.features.store import FEATURES_FILE, FORMAT, MANIFEST_FILE, FeatureStore
from mmrns.files import read_json
from mmrns.graph.dataset import Dataset
from mmrns.memory import tuned_process

# Options that change how fast the work is done or where it goes, not what comes out; and where texts are from, since
# the texts themselves are part of the fingerprint.
_NOT_IN_FINGERPRINT = ("threads", "decoders", "output", "overwrite", "text_from")


class Encoder(Protocol):
    """What `ImageEncoder` and `TextEncoder` have in common."""

    tokens: int
    width: int
    total: int
    source: dict[str, Any]

    def inputs(self) -> list[Any]:
        """What is read, for a fingerprint."""
        ...

    def count(self, span: Span) -> int:
        """Pictures or texts in a span."""
        ...

    def encode(self, spans: Sequence[Span]) -> Iterator[Encoded]:
        """Encode each span, in order."""
        ...


@tuned_process()
def extract(dataset: Dataset, options: ExtractOptions | None = None, progress: bool = True) -> Path:
    """Encode what people see of a dataset's entities, and write features.safetensors and features.json.

    Work is saved as it goes (in .features.partial beside the output): the same call after a kill goes on where it
    was, to the same bytes. Features that are there already from the same inputs and options are left alone.
    Pictures that are missing or corrupt are listed in the manifest, and never fatal.

    Args:
        progress: show a bar on standard error (only when that is a terminal).

    Returns:
        The path of features.safetensors.

    Raises:
        UserError: an encoder cannot be had, the output exists from other options (see `overwrite`), there is
            nothing to encode, or the disk is full.
    """
    options = options or ExtractOptions()
    folder = Path(options.output) if options.output else dataset.folder
    if options.threads:
        torch.set_num_threads(options.threads)
    encoders = _encoders(dataset, options, _device(options.device))
    fingerprint = _fingerprint(dataset, options, encoders)
    if not options.overwrite and (finished := _finished(dataset, folder, fingerprint)):
        return finished
    place = open_partial(folder, fingerprint)
    manifest: dict[str, Any] = {"fingerprint": fingerprint, "modalities": {}, "counts": {}, "faults": []}
    arrays = {}
    for name, encoder in encoders.items():
        partial = _encode_all(name, encoder, len(dataset.entities), place, options, progress)
        manifest["faults"] += [fault for note in partial.notes for fault in note["faults"]]
        manifest["modalities"][name] = encoder.source
        manifest["counts"][f"{name}_inputs"] = encoder.total
        manifest["counts"] |= getattr(encoder, "counts", {})
        values, mask = partial.arrays()
        if not mask.any():
            continue  # not one usable picture: a modality of nothing but absent tokens helps nobody
        arrays[name] = values, mask
        final_width = getattr(encoder, "final_width", encoder.width)
        if final_width < encoder.width:
            arrays[name] = _reduce(place, name, values, mask, final_width, options, encoder.source)
    if not arrays:
        raise UserError(
            f"{dataset.folder}: none of its pictures can be used; see that the paths in entities.jsonl are right"
        )
    store = FeatureStore.write(dataset, arrays, folder, manifest)
    shutil.rmtree(place, ignore_errors=True)
    return store.path


def _device(wanted: str) -> torch.device:
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise UserError("--device cuda: torch sees no CUDA device; give --device cpu")
    return torch.device("cuda" if available and wanted != "cpu" else "cpu")


def _encoders(dataset: Dataset, options: ExtractOptions, device: torch.device) -> dict[str, Encoder]:
    """Encoders of the modalities that are asked for and of which the dataset has something."""
    records = [dataset.records.get(entity, {}) for entity in dataset.entities.ids]
    encoders: dict[str, Encoder] = {}
    if options.image_encoder != "none" and any(record.get("images") for record in records):
        from mmrns.features.images import ImageEncoder  # imports timm: a second that other commands need not wait

        encoders["image"] = ImageEncoder(dataset, options, device)
    if options.text_encoder != "none":
        from mmrns.features.texts import TextEncoder, has_text

        if has_text(dataset, options.text_from):
            encoders["text"] = TextEncoder(dataset, options, device)
    if not encoders:
        no_name = "" if dataset.records else f", and ids such as {dataset.entities.ids[0]} are no names"
        raise UserError(
            f'{dataset.folder / "entities.jsonl"}: gives no entity "images", "texts" or a "label" to '
            f"extract from{no_name}; add them, one JSON object a line"
        )
    return encoders


def _fingerprint(dataset: Dataset, options: ExtractOptions, encoders: dict[str, Encoder]) -> str:
    """SHA-256 of all that decides the result: options, entities, weights, texts, names and sizes of pictures."""
    kept = {key: value for key, value in asdict(options).items() if key not in _NOT_IN_FINGERPRINT}
    parts = [FORMAT, dataset.entities.sha256, kept, {name: [e.source, e.inputs()] for name, e in encoders.items()}]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _finished(dataset: Dataset, folder: Path, fingerprint: str) -> Path | None:
    """The features that lie in `folder` when they are those of this fingerprint; UserError when they are others."""
    path = folder / FEATURES_FILE
    if not path.exists() or not (folder / MANIFEST_FILE).exists():
        return None  # nothing, or the remains of a write that was killed between its two files
    manifest = read_json(folder / MANIFEST_FILE, "give --overwrite")
    if isinstance(manifest, dict) and manifest.get("fingerprint") == fingerprint:
        return FeatureStore.open(dataset, folder).path
    raise UserError(f"{path}: exists, from other options or inputs; give --overwrite, or another --output")


def _encode_all(
    name: str, encoder: Encoder, entities: int, place: Path, options: ExtractOptions, progress: bool
) -> PartialTokens:
    partial = PartialTokens(place, name, encoder.tokens, encoder.width)
    done = encoder.count(range(0, partial.done))
    # disable=None: no bar where standard error is not a terminal.
    bar = tqdm(total=encoder.total, initial=done, desc=name, unit=name, disable=None if progress else True)
    with bar:
        for encoded in encoder.encode(spans(partial.done, entities, options.span)):
            partial.append(encoded.values, encoded.mask, encoded.note)
            bar.update(encoder.count(encoded.span))
    return partial


def _reduce(
    place: Path,
    name: str,
    values: np.ndarray,
    mask: np.ndarray,
    width: int,
    options: ExtractOptions,
    source: dict[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    """Values (E, n, C) on at most `width` principal components, through a file, so that memory stays bounded."""
    pca = TokenPca(values, mask, width, options.pca_sample)
    source["explained_variance"] = round(pca.explained, 4)
    for leftover in place.glob(f"{name}-reduced.*"):
        leftover.unlink()
    reduced = PartialTokens(place, f"{name}-reduced", mask.shape[1], pca.width)
    for span in spans(0, len(mask), options.span):
        block = slice(span.start, span.stop)
        reduced.append(pca(values[block], mask[block]), mask[block], {})
    return reduced.arrays()
