import json

import pytest


@pytest.fixture
def write_dataset(tmp_path):
    """Writes split files from lists of (head, relation, tail), and entities.jsonl from records; returns the folder."""

    def write(train, valid=None, test=None, records=None, relations=None):
        for split, triples in (("train", train), ("valid", valid or train[:1]), ("test", test or train[:1])):
            text = "".join("\t".join(triple) + "\n" for triple in triples)
            (tmp_path / f"{split}.txt").write_text(text, encoding="utf-8", newline="")
        for name, rows in (("entities", records), ("relations", relations)):
            (tmp_path / f"{name}.jsonl").unlink(missing_ok=True)
            if rows is not None:
                lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                (tmp_path / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        return tmp_path

    return write
