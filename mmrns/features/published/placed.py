"""Whether what lies in a dataset's folder is what was published."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmrns.errors import UserError
from mmrns.features.digests import file_sha256
from mmrns.features.published.catalogue import PublishedDataset, PublishedFile
from mmrns.features.published.matching import read_links
from mmrns.features.published.sources import load_matrix, open_source, read_token_ids
from mmrns.features.store import FEATURES_FILE, FeatureStore
from mmrns.files import sha256
from mmrns.graph.dataset import SPLITS, Dataset, load_dataset
from mmrns.graph.openke import read_order
from mmrns.graph.triples import NAMES, OPENKE

State = Literal["missing", "as published", "plausible", "wrong"]


@dataclass(frozen=True)
class Placed:
    """What was found of one file.

    Attributes:
        file: its name in the folder.
        state: "as published" by checksum; "plausible" by counts and shapes where no checksum is known.
        detail: what was looked at, or what is wrong and the mend.
    """

    file: str
    state: State
    detail: str


def check_placed(published: PublishedDataset, folder: Path) -> list[Placed]:
    """Look at every file of a published dataset that lies in `folder`, and at features that were made there."""
    dataset, found = _triples(published, folder)
    found += [_file(entry, published, folder) for entry in published.files]
    if dataset is not None and (folder / FEATURES_FILE).exists():
        found.append(_examined(FEATURES_FILE, lambda: _features(dataset)))
    return found


def _triples(published: PublishedDataset, folder: Path) -> tuple[Dataset | None, list[Placed]]:
    """The dataset in the folder, if one can be read, and what is to be said of its triples."""
    if not any((folder / files.name(split)).is_file() for files in (NAMES, OPENKE) for split in SPLITS):
        return None, [Placed(NAMES.name(split), "missing", "") for split in SPLITS]
    try:
        dataset = load_dataset(folder)
    except UserError as error:
        return None, [Placed("triples", "wrong", str(error))]
    again = f"obtain the triples from {published.triples_origin.page}"
    found = []
    for split in SPLITS:
        name, lines = dataset.files.name(split), dataset.lines(split)
        in_order, in_any_order = published.triples[split]
        if sha256(lines) == in_order:
            found.append(Placed(name, "as published", f"{len(lines):,} triples, SHA-256 of their lines {in_order}"))
        elif sha256(sorted(lines)) == in_any_order:
            found.append(Placed(name, "as published", f"{len(lines):,} triples, in another order than published"))
        else:
            number = published.counts[split]
            said = f"{len(lines):,} triples, not {number:,}" if len(lines) != number else "other triples than published"
            found.append(Placed(name, "wrong", f"{folder / name}: {said}; {again}"))
    counts = {"entities": len(dataset.entities), "relations": len(dataset.relations)}
    said = ", ".join(f"{number:,} {kind}" for kind, number in counts.items())
    if all(published.counts[kind] == number for kind, number in counts.items()):
        return dataset, [*found, Placed("all splits", "as published", said)]
    wanted = ", ".join(f"{published.counts[kind]:,} {kind}" for kind in counts)
    return dataset, [*found, Placed("all splits", "wrong", f"{folder}: {said}, not {wanted}; {again}")]


def _file(entry: PublishedFile, published: PublishedDataset, folder: Path) -> Placed:
    path = folder / entry.name
    unpacked = path.with_suffix("") if path.suffix == ".zip" else path
    path = path if path.is_file() else unpacked
    if not path.is_file():
        return Placed(entry.name, "missing", "")
    if entry.sha256 and file_sha256(path) in entry.sha256:
        return Placed(path.name, "as published", f"SHA-256 {file_sha256(path)}")
    if entry.sha256:
        return Placed(path.name, "wrong", f"{path}: its SHA-256 is not that of the published file; obtain it again")
    return _examined(path.name, lambda: EXAMINE[entry.form](path, entry, published) + "; its checksum is not known")


def _examined(name: str, look: Callable[[], str]) -> Placed:
    try:
        return Placed(name, "plausible", look())
    except UserError as error:
        return Placed(name, "wrong", str(error))


def _features(dataset: Dataset) -> str:
    store = FeatureStore.open(dataset)
    store.verify()
    shapes = (f"{name} {' x '.join(map(str, store.shape(name)))}" for name in store.modalities)
    return f"made by mmrns: {', '.join(shapes)}; its SHA-256 is that of features.json"


def _h5(path: Path, entry: PublishedFile, published: PublishedDataset) -> str:
    with open_source(path, path.name, None, None, None) as source:
        (tokens, width), number = Counter(source.shapes).most_common(1)[0]
        if entry.array and (width != entry.array[1] or entry.array[0] not in (None, tokens)):
            wanted = " x ".join("n" if size is None else str(size) for size in entry.array)
            raise UserError(
                f"{path}: most arrays are {tokens} x {width}, not {wanted}; check that it is the file meant"
            )
        unusable = f", {len(source.faults):,} unusable" if source.faults else ""
        return f"{len(source.names):,} arrays{unusable}, {number:,} of {tokens} x {width}"


def _matrix(path: Path, entry: PublishedFile, published: PublishedDataset) -> str:
    shape = load_matrix(path, path.name, (2, 3)).shape
    entities = published.counts["entities"]
    if shape[0] != entities:
        raise UserError(f"{path}: {shape[0]:,} rows, and {published.name} has {entities:,} entities; check the file")
    return f"{' x '.join(map(str, shape))}, a row an entity"


def _tokens(path: Path, entry: PublishedFile, published: PublishedDataset) -> str:
    return f"token ids of {len(read_token_ids(path, path.name)):,} entities"


def _order(path: Path, entry: PublishedFile, published: PublishedDataset) -> str:
    return f"{len(read_order(path)):,} names"


def _links(path: Path, entry: PublishedFile, published: PublishedDataset) -> str:
    return f"{len(read_links(path)):,} pairs of names"


# What to look at in a file of each form whose checksum is not known.
EXAMINE: dict[str, Callable[[Path, PublishedFile, PublishedDataset], str]] = {
    "h5": _h5, "matrix": _matrix, "codebook": _matrix, "tokens": _tokens, "order": _order, "links": _links,
}  # fmt: skip
