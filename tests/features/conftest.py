"""Small datasets made in a temporary folder."""

import json

import pytest

from mmrns.graph.dataset import load_dataset


@pytest.fixture
def make_dataset(tmp_path):
    """make_dataset(records, name="tiny"): a dataset whose entities are the records' ids, linked in a ring."""

    def make(records, name="tiny"):
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        ids = [record["id"] for record in records]
        ring = [f"{head}\tnext\t{tail}\n" for head, tail in zip(ids, ids[1:] + ids[:1], strict=True)]
        for split in ("train", "valid", "test"):
            (folder / f"{split}.txt").write_text("".join(ring), encoding="utf-8")
        lines = [json.dumps(record) + "\n" for record in records]
        (folder / "entities.jsonl").write_text("".join(lines), encoding="utf-8")
        return load_dataset(folder)

    return make
