"""A model for other programs: its embeddings with their names, and its scoring function as ONNX."""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from mmrns.errors import UserError
from mmrns.files import atomic_folder, write_json, write_text
from mmrns.inference.scorer import write_onnx
from mmrns.inference.trained import TrainedModel

_BREAKS_A_TOKEN = re.compile(r"[\s\x00-\x1f\x7f%]")
_BREAKS_A_LINE = re.compile(r"[\t\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")


def export(trained: TrainedModel, form: str, output: Path, license: str | None = None) -> None:
    """Write a model in a form for other programs into the folder `output`, which must not hold anything yet.

    Args:
        form: one of FORMS.
        license: for the model card of "hub".

    Raises:
        UserError: an unknown form, a package that is missing, or a folder that cannot be written.
    """
    if form not in FORMS:
        raise UserError(f"--format {form}: unknown; choose one of {', '.join(FORMS)}")
    with atomic_folder(output) as folder:
        if form == "hub":
            trained.save_pretrained(folder, model_card_kwargs={"license": license})
            return
        FORMS[form](trained, folder)
        _describe(trained, form, folder)


@torch.no_grad()
def _tables(trained: TrainedModel) -> dict[str, tuple[list[str], list[str], NDArray[np.float32]]]:
    """File name -> ids, labels, and vectors (N, width): of entities and of relations."""
    relations = trained.relations
    ids, labels = list(relations.ids), list(relations.labels)
    if trained.config.reciprocal:  # the second half of the table asks for heads
        ids += [f"{identifier}^-1" for identifier in relations.ids]
        labels += [f"inverse of {label}" for label in relations.labels]
    entities = trained.model.entities.everything().float().numpy()
    vectors = trained.model.relations.weight.float().numpy()
    return {
        "entities": (trained.entities.ids, trained.entities.labels, entities),
        "relations": (ids, labels, vectors),
    }


def _write_npy(trained: TrainedModel, folder: Path) -> None:
    """entities.npy and relations.npy, (N, width) float32; names by row in the .tsv files."""
    for name, (_, _, vectors) in _tables(trained).items():
        np.save(folder / f"{name}.npy", vectors)


def _write_word2vec(trained: TrainedModel, folder: Path) -> None:
    """entities.txt and relations.txt in word2vec's text format, as gensim reads it: a header, then token and numbers.

    A token is an id in which blanks, control characters and % are percent-encoded (UTF-8), since a blank ends a token.
    """
    for name, (ids, _, vectors) in _tables(trained).items():
        with (folder / f"{name}.txt").open("w", encoding="utf-8", newline="\n") as file:
            file.write(f"{vectors.shape[0]} {vectors.shape[1]}\n")
            for identifier, vector in zip(ids, vectors, strict=True):
                token = _BREAKS_A_TOKEN.sub(lambda found: quote(found[0], safe=""), identifier)
                file.write(f"{token} {' '.join(map(str, vector))}\n")


def _write_parquet(trained: TrainedModel, folder: Path) -> None:
    """entities.parquet and relations.parquet: id, label, vector (a list of fixed length)."""
    for name, (ids, labels, vectors) in _tables(trained).items():
        vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        pq.write_table(pa.table({"id": ids, "label": labels, "vector": vector}), folder / f"{name}.parquet")


def _describe(trained: TrainedModel, form: str, folder: Path) -> None:
    """What the numbers are, and the names of the rows: id TAB label, below a header that says so.

    TensorBoard's projector takes the first line of a file with tabs for one.
    """
    tables = _tables(trained)
    for name, (ids, labels, _) in tables.items():
        lines = (
            f"{identifier}\t{_BREAKS_A_LINE.sub(' ', label)}\n" for identifier, label in zip(ids, labels, strict=True)
        )
        write_text(folder / f"{name}.tsv", "".join(["id\tlabel\n", *lines]))
    scoring = trained.model.scoring
    write_json(
        folder / "export.json",
        {
            "format": form,
            "scoring_function": trained.config.model,
            "step": trained.step,
            "shapes": {name: list(vectors.shape) for name, (_, _, vectors) in tables.items()},
            "complex": "real parts, then imaginary parts" if scoring.complex_vectors else None,
            "entities_sha256": trained.entities.sha256,
            "relations_sha256": trained.relations.sha256,
        },
    )


FORMS: dict[str, Callable[[TrainedModel, Path], None]] = {
    "npy": _write_npy,
    "word2vec": _write_word2vec,
    "parquet": _write_parquet,
    "onnx": write_onnx,
    "hub": lambda trained, folder: None,
}
