"""From pictures and texts to features.safetensors and features.json."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import DTypeLike
from tqdm import tqdm

from mmrns.errors import UserError, shortened
from mmrns.features.options import ExtractOptions
from mmrns.features.partial import PARTIAL_FOLDER, PartialTokens, partial_folder
from mmrns.features.pooling import TokenPca
from mmrns.features.spans import Encoded, Span, spans
from mmrns.features.store import FEATURES_FILE, FORMAT, MANIFEST_FILE, FeatureStore
from mmrns.files import read_json
from mmrns.graph.dataset import Dataset
from mmrns.memory import tuned_process
from mmrns.processes import Processes, check_device, device_of, launched

# Options that change how fast the work is done or where it goes, not what comes out beyond rounding; where texts are
# from, since the texts themselves are part of the fingerprint; and the precision, which `source` names unless single.
_NOT_IN_FINGERPRINT = ("threads", "decoders", "output", "overwrite", "text_from", "text_batch_tokens", "precision")
# Features that were made when this was the default differ from today's by rounding; they are left alone too.
_ONCE_DEFAULT_TEXTS = 32


class Encoder(Protocol):
    """What `ImageEncoder` and `TextEncoder` have in common."""

    tokens: int
    width: int
    total: int
    source: dict[str, Any]
    counts: dict[str, int]

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

    Where torchrun or accelerate launch started several processes, each encodes its share of the entities, and the
    first puts them together, to the same bytes as one process: the batches of a span are the same whoever encodes it.

    Args:
        progress: show a bar on standard error (only when that is a terminal).

    Returns:
        The path of features.safetensors.

    Raises:
        UserError: an encoder cannot be had, the output exists from other options (see `overwrite`), there is
            nothing to encode, another extraction is at work there, or the disk is full.
    """
    options = options or ExtractOptions()
    folder = Path(options.output) if options.output else dataset.folder
    together = launched(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    check_device(options.device)
    encoders = _encoders(dataset, options, device_of(options.device))
    fingerprint = _fingerprint(dataset, options, encoders)
    finished = None if options.overwrite else _finished(dataset, folder, fingerprint)
    if together.any(finished is not None)[0]:  # all have looked before the first writes
        return finished or folder / FEATURES_FILE
    busy = f"{folder}: another extraction is at work there; wait for it to end, or give another --output"
    with together.hold(folder / PARTIAL_FOLDER, busy):
        if together.main:
            partial_folder(folder, fingerprint)
        together.wait()
        work = _Work(folder / PARTIAL_FOLDER, options, together, progress and together.main)
        partials = {}
        for name, encoder in encoders.items():
            shared: Any = getattr(encoder, "shared", None)
            if shared is not None and shared.files:
                ready = work.encode(f"{name}-shared", shared, len(shared.files), np.float32)
                shared.give_back(ready.arrays()[0], ready.notes())
            partials[name] = work.encode(name, encoder, len(dataset.entities))
        failure = None
        if together.main:
            try:
                _write(dataset, folder, fingerprint, options, encoders, partials)
            except UserError as error:
                failure = error
        if together.any(failure is not None)[0]:  # the others wait until it is written, and end if it cannot be
            raise failure or UserError(f"{folder}: process 0 could not write the features; it says why")
    return folder / FEATURES_FILE


def _write(
    dataset: Dataset,
    folder: Path,
    fingerprint: str,
    options: ExtractOptions,
    encoders: dict[str, Encoder],
    partials: dict[str, PartialTokens],
) -> None:
    """Features and manifest of what is encoded; the work in progress goes."""
    place = folder / PARTIAL_FOLDER
    manifest: dict[str, Any] = {"fingerprint": fingerprint, "modalities": {}, "counts": {}, "faults": []}
    arrays = {}
    for name, encoder in encoders.items():
        notes = partials[name].notes()
        manifest["faults"] += [fault for note in notes for fault in note["faults"]]
        manifest["modalities"][name] = encoder.source
        manifest["counts"][f"{name}_inputs"] = encoder.total
        manifest["counts"] |= encoder.counts
        if any("cut" in note for note in notes):
            manifest["counts"][f"{name}_cut"] = sum(note.get("cut", 0) for note in notes)
        values, mask = partials[name].arrays()
        if not mask.any():
            continue  # not one usable picture: a modality of nothing but absent tokens helps nobody
        arrays[name] = values, mask
        final_width = getattr(encoder, "final_width", encoder.width)
        if final_width < encoder.width:
            arrays[name] = _reduce(place, name, values, mask, final_width, options, encoder.source)
    if not arrays:
        raise UserError(_nothing_usable(dataset, manifest["faults"]))
    FeatureStore.write(dataset, arrays, folder, manifest)
    shutil.rmtree(place, ignore_errors=True)


def _nothing_usable(dataset: Dataset, faults: list[dict[str, str]]) -> str:
    """Why there are no features: what is wrong with the first picture, or, without one, with the texts."""
    if not faults:
        return f"{dataset.folder / 'entities.jsonl'}: its texts are blank; write some, or give pictures"
    first = f"{shortened(faults[0]['file'], 100)}: {faults[0]['reason']}"
    return (
        f"{dataset.folder}: none of its pictures can be used ({first}); see that the paths in entities.jsonl are right"
    )


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
    kept["text_batch_size"] = options.text_batch_size or _ONCE_DEFAULT_TEXTS
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


@dataclass(frozen=True)
class _Work:
    """Where and how spans are encoded.

    Attributes:
        place: folder of the work in progress.
        options: of the extraction.
        together: the processes that share the spans.
        progress: show a bar.
    """

    place: Path
    options: ExtractOptions
    together: Processes
    progress: bool

    def encode(self, name: str, encoder: Encoder, rows: int, dtype: DTypeLike = np.float16) -> PartialTokens:
        """Together: encode the spans that are not finished yet, each process its share; returns when all are done."""
        partial = PartialTokens(self.place, name, encoder.tokens, encoder.width, self.together.index, dtype)
        self.together.wait()  # all have mended their files before the first reads those of others
        finished = partial.finished()
        self.together.wait()  # all know the same spans as finished before the first finishes another
        left = [span for span in spans(0, rows, self.options.span) if span not in finished]
        mine = self.together.share(left)
        total = sum(map(encoder.count, mine))
        bar = tqdm(
            total=encoder.total if self.together.number == 1 else total,
            initial=sum(map(encoder.count, finished)) if self.together.number == 1 else 0,
            desc=name,
            unit=name,
            disable=None if self.progress else True,  # None: no bar where standard error is not a terminal
        )
        with bar:
            for encoded in encoder.encode(mine):
                partial.append(encoded)
                bar.update(encoder.count(encoded.span))
        self.together.wait()
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
        reduced.append(Encoded(span, pca(values[block], mask[block]), mask[block], {}))
    return reduced.arrays()
