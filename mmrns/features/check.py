"""What may be wrong with a dataset's features, and how much of each split they cover."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmrns.errors import UserError
from mmrns.features.mapped import MODALITIES
from mmrns.features.store import MANIFEST_FILE, FeatureStore
from mmrns.graph.dataset import SPLITS, Dataset
from mmrns.graph.findings import EXAMPLES, Finding, share


def open_checked(dataset: Dataset, folder: Path | None) -> tuple[FeatureStore | None, list[Finding]]:
    """The features in `folder`, read whole once, or the finding that says why they cannot be used.

    Without a folder the dataset's own is looked in, and it is no fault that it has none.
    """
    place = folder or dataset.folder
    if folder is None and not FeatureStore.lies_in(place):
        return None, []
    try:
        store = FeatureStore.open(dataset, folder)
        store.verify()
    except UserError as error:
        return None, [Finding("features-unusable", "error", str(place), 1, str(error))]
    return store, []


def listed_without_features(dataset: Dataset, store: FeatureStore) -> Iterator[Finding]:
    """Entities whose pictures or texts are listed and came to nothing, be it all that an extraction was asked for."""
    counts = store.manifest.get("counts", {})
    for modality in (name for name in MODALITIES if name in store.modalities or f"{name}_inputs" in counts):
        present = store.presence(modality).numpy()
        lost = [
            identifier
            for row, identifier in enumerate(dataset.entities.ids)
            if not present[row] and dataset.records.get(identifier, {}).get(f"{modality}s")
        ]
        if lost:
            reasons = {
                fault["entity"]: fault["reason"] for fault in store.manifest.get("faults", []) if "entity" in fault
            }
            yield Finding(
                "listed-without-features",
                "warning",
                f"{modality} features",
                len(lost),
                f"entities with {modality}s in entities.jsonl and without {modality} features: {len(lost):,}; mend the "
                f"files that {MANIFEST_FILE} names, then extract again with --overwrite",
                [f"{name}: {reasons.get(name, 'no reason recorded')}" for name in lost[:EXAMPLES]],
            )


def coverage(dataset: Dataset, presence: Mapping[str, NDArray[np.bool_]], source: str) -> Iterator[Finding]:
    """How many entities and answers of each split have each modality; silent about one that no entity has.

    Args:
        presence: (E,) bool by modality.
        source: where presence comes from, as the finding's place, e.g. "features".
    """
    for modality in (name for name in MODALITIES if presence[name].any()):
        present = presence[modality]
        figures, said = {}, []
        for split in SPLITS:
            # Every triple asks two queries: its head and its tail are answers, once each.
            answers = dataset.split(split)[:, [0, 2]]
            entities = np.unique(answers)
            figures[split] = {
                "entities": round(float(present[entities].mean()), 6),
                "answers": round(float(present[answers].mean()), 6),
            }
            said.append(f"{split} {figures[split]['entities']:.1%} / {figures[split]['answers']:.1%}")
        without = np.flatnonzero(~present)
        yield Finding(
            f"{modality}-coverage",
            "note",
            source,
            int(present.sum()),
            f"entities with {modality}s: {share(int(present.sum()), len(present))}; by split, of its entities / of "
            f"its answers: {', '.join(said)}; the rest is told by structure alone or by another modality",
            [f"without: {dataset.entities.labels[row]}" for row in without[:EXAMPLES]],
            figures,
        )
