"""Entities as people see them: labels, the pictures and the texts behind their tokens."""

from pathlib import Path
from typing import Any

from mmrns.explanation.result import Shown
from mmrns.features import FeatureStore
from mmrns.features.texts import text_units
from mmrns.graph import Dataset


class Entities:
    """Looks entities up by row."""

    def __init__(self, dataset: Dataset, features: FeatureStore | None) -> None:
        self._dataset = dataset
        manifest: dict[str, Any] = features.manifest if features else {}
        modalities = manifest.get("modalities", {})
        self._pictures: int | None = modalities.get("image", {}).get("images_per_entity")
        # Those of imported arrays name no file, and hide no picture.
        self._faults = {(fault["entity"], fault["file"]) for fault in manifest.get("faults", []) if "file" in fault}
        text = modalities.get("text", {})
        self._split: str | None = text.get("split")
        self._texts: int = text.get("tokens", 0)

    def __getitem__(self, row: int) -> Shown:
        names = self._dataset.entities
        identifier = names.ids[row]
        record = self._dataset.records.get(identifier, {})
        files = [
            file for file in (record.get("images") or [])[: self._pictures] if (identifier, file) not in self._faults
        ]
        # Where the features do not say how texts became tokens, all of them are shown.
        texts = text_units(record, self._split, self._texts)[0] if self._split else list(record.get("texts") or [])
        pictures = [str(path) for path in map(self._inside, files) if path]
        return Shown(identifier, names.labels[row], record.get("type"), pictures, texts)

    def _inside(self, file: str) -> Path | None:
        """The file in full, or None when it lies outside of the dataset's folder."""
        folder = self._dataset.folder.resolve()
        try:
            path = (folder / file).resolve()
        except (OSError, ValueError):
            return None
        return path if path.is_relative_to(folder) else None
