"""The files that features are published in, each as named arrays of tokens.

- `.h5`: one array an entity, of one vector (D,) or of n vectors (n, D), under the entity's name (MMRNS, MMKB). A name
  that holds "/" lies in a group of HDF5, and is put together again; of "//" HDF5 keeps one, and an address gets its
  second back.
- `.pth`, `.pt`: one matrix (E, D) or (E, n, D) whose rows are in the order of entity2id.txt (AdaMF, NativE, MoMoK).
- `.json`, or a `.zip` of one: the token ids of each entity, and a codebook `.pth` (V, D) that holds their vectors
  (MyGO). The most frequent ids are taken, as MyGO does.
"""

import contextlib
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmrns.errors import UserError

SUFFIXES = {".h5": "h5", ".hdf5": "h5", ".pth": "matrix", ".pt": "matrix", ".json": "tokens", ".zip": "tokens"}
_ADDRESS = re.compile(r"^(<?[A-Za-z][A-Za-z0-9+.-]+:)/(?=[^/])")


@dataclass(frozen=True)
class Source:
    """A file of features.

    Attributes:
        path, form: the file, and "h5", "matrix" or "tokens".
        names: whose the arrays are, as the file or its entity2id.txt says.
        shapes: (tokens, width) of each; width is the same for all.
        read: the array (tokens, width) of the i-th name.
        faults: {"entity", "reason"} of each name that has no usable array, and is not among `names`.
    """

    path: Path
    form: str
    names: list[str]
    shapes: list[tuple[int, int]]
    read: Callable[[int], np.ndarray]
    faults: list[dict[str, str]] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Width of a token."""
        return self.shapes[0][1]


@contextlib.contextmanager
def open_source(
    path: Path, flag: str, order: list[str] | None, codebook: Path | None, tokens: int | None
) -> Iterator[Source]:
    """Open a file of features by its suffix; it stays open inside the `with`.

    Args:
        flag: names the option that gave the file, in messages; `flag`-codebook and --entities are named as mends.
        order: names of a matrix's rows.
        codebook: vectors of token ids.
        tokens: ids taken of an entity, the most frequent first; None: all different ones.

    Raises:
        UserError: a file that is missing, of another kind, damaged or empty, or an order or codebook that is missing
            or does not fit.
    """
    if not path.is_file():
        raise UserError(f"{flag} {path}: no such file; see: mmrns fetch --help")
    form = SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise UserError(f"{flag} {path}: unknown kind; give one of {', '.join(SUFFIXES)}")
    if form != "tokens" and codebook is not None:
        raise UserError(f"{flag}-codebook {codebook}: belongs to token ids in a .json; leave it out")
    with contextlib.ExitStack() as stack:
        if form == "h5":
            source = _h5(path, flag, stack)
        elif form == "matrix":
            source = _matrix(path, flag, order)
        else:
            source = _tokens(path, flag, codebook, tokens)
        if not source.names:
            reason = f" ({source.faults[0]['entity']}: {source.faults[0]['reason']})" if source.faults else ""
            raise UserError(f"{flag} {path}: holds no usable array{reason}; check that it is the file you mean")
        yield source


def _h5(path: Path, flag: str, stack: contextlib.ExitStack) -> Source:
    import h5py

    try:
        file = stack.enter_context(h5py.File(path, "r"))
    except OSError as error:
        raise UserError(f"{flag} {path}: not a sound HDF5 file ({error}); obtain it again") from error
    found: dict[str | bytes, tuple[int, ...]] = {}
    kinds: dict[str | bytes, str] = {}

    def visit(inside: str | bytes, item: Any) -> None:  # bytes of a name that is not UTF-8
        if isinstance(item, h5py.Dataset):
            found[inside], kinds[inside] = item.shape, item.dtype.kind

    file.visititems(visit)
    widths = Counter(shape[-1] for shape in found.values() if shape)
    width = widths.most_common(1)[0][0] if widths else 0
    names, places, shapes, faults = [], [], [], []
    for inside, shape in found.items():
        name = inside if isinstance(inside, str) else inside.decode("utf-8", "replace")
        name = _ADDRESS.sub(r"\1//", name)
        if isinstance(inside, bytes):
            faults.append({"entity": name, "reason": "has a name that is not UTF-8"})
        elif kinds[inside] not in "fiu" or len(shape) not in (1, 2) or 0 in shape:
            faults.append({"entity": name, "reason": f"is not an array of vectors: {kinds[inside]} {shape}"})
        elif shape[-1] != width:
            faults.append({"entity": name, "reason": f"is {shape[-1]} wide, and most are {width}"})
        else:
            names.append(name)
            places.append(inside)
            shapes.append((shape[0] if len(shape) == 2 else 1, width))

    def read(number: int) -> np.ndarray:
        return np.asarray(file[places[number]][()], dtype=np.float32).reshape(shapes[number])

    return Source(path, "h5", names, shapes, read, faults)


def _matrix(path: Path, flag: str, order: list[str] | None) -> Source:
    values = load_matrix(path, flag, (2, 3))
    if order is None:
        raise UserError(
            f"--entities: missing; the rows of {path.name} are in the order of its authors' entity2id.txt: give that "
            "file"
        )
    if len(order) != len(values):
        raise UserError(
            f"{flag} {path}: {len(values)} rows, and --entities names {len(order)}; give the files of one project"
        )
    values = values.reshape(len(values), -1, values.shape[-1])
    _, tokens, width = values.shape

    def read(number: int) -> np.ndarray:
        return np.asarray(values[number], dtype=np.float32)

    return Source(path, "matrix", order, [(tokens, width)] * len(order), read)


def _tokens(path: Path, flag: str, codebook: Path | None, limit: int | None) -> Source:
    if codebook is None:
        raise UserError(f"{flag}-codebook: missing; {path.name} holds numbers of tokens, whose vectors are in a .pth")
    vectors = load_matrix(codebook, f"{flag}-codebook", (2,))
    chosen, faults = {}, []
    for name, ids in read_token_ids(path, flag).items():
        if not isinstance(ids, list) or not all(type(number) is int for number in ids):
            faults.append({"entity": name, "reason": "is not a list of token ids"})
        elif any(not 0 <= number < len(vectors) for number in ids):
            faults.append({"entity": name, "reason": f"has a token id that the codebook of {len(vectors)} lacks"})
        elif not ids:
            faults.append({"entity": name, "reason": "has no token"})
        else:
            chosen[name] = [number for number, _ in Counter(ids).most_common(limit)]
    names, picked = list(chosen), list(chosen.values())
    shapes = [(len(ids), vectors.shape[1]) for ids in picked]
    return Source(path, "tokens", names, shapes, lambda number: vectors[picked[number]].astype(np.float32), faults)


def read_token_ids(path: Path, flag: str) -> dict[str, Any]:
    """The object of a .json, or of the only .json in a .zip; what it holds is not looked at."""
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                inside = [
                    name for name in archive.namelist() if name.endswith(".json") and not name.startswith("__MACOSX")
                ]
                if len(inside) != 1:
                    raise UserError(f"{flag} {path}: holds {len(inside)} .json files; unpack it and give one of them")
                content = json.loads(archive.read(inside[0]))
        else:
            content = json.loads(path.read_bytes())
    except (ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{flag} {path}: not readable as JSON ({error}); obtain it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{flag} {path}: not an object of token ids by entity; check that it is the file you mean")
    return content


def load_matrix(path: Path, flag: str, dimensions: tuple[int, ...]) -> np.ndarray:
    """The one tensor or array of numbers in a .pth; nothing in it is run.

    Raises:
        UserError: the file is missing, holds something else, or needs code to be run.
    """
    import torch

    if not path.is_file():
        raise UserError(f"{flag} {path}: no such file; check the path")
    try:
        with torch.serialization.safe_globals(_plain_numpy()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged archive, and all mean the same to the user
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise UserError(
            f"{flag} {path}: cannot be read without running code that it holds ({reason}); obtain it again"
        ) from None
    if isinstance(content, dict) and len(content) == 1:
        content = next(iter(content.values()))
    values = content.detach().float().numpy() if isinstance(content, torch.Tensor) else content
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or values.ndim not in dimensions:
        said = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(content).__name__
        wanted = " or ".join(f"{number}-dimensional" for number in dimensions)
        raise UserError(f"{flag} {path}: holds {said}, not one {wanted} array of numbers; check the file")
    if 0 in values.shape:
        raise UserError(f"{flag} {path}: holds an empty array; obtain it again")
    return values


def _plain_numpy() -> list[Any]:
    """What a pickled NumPy array is made of, under the old and the new name of its module."""
    from numpy._core import multiarray

    rebuild = multiarray._reconstruct
    types = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1")]
    return [(rebuild, "numpy.core.multiarray._reconstruct"), rebuild, np.ndarray, np.dtype, *types]
