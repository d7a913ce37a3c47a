"""Entities as people see them: pictures that could not be read are left out, whatever else has faults."""

import json

from mmrns.explanation.entities import Entities
from mmrns.features import FeatureStore
from mmrns.graph.dataset import load_dataset
from tests.tiny import tiny_features, write_tiny_graph


def test_a_fault_that_names_no_file_hides_no_picture(tmp_path):
    graph = write_tiny_graph(tmp_path / "graph")
    records = [json.loads(line) for line in (graph / "entities.jsonl").read_text().splitlines()]
    for record in records[:2]:
        record["images"] = ["sound.png", "broken.png"]
    (graph / "entities.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    dataset = load_dataset(graph)
    faults = [
        {"entity": "e00", "file": "broken.png", "reason": "cannot be decoded"},
        {"modality": "text", "entity": "e01", "reason": "is 5 wide, and most are 4"},  # as mmrns import writes it
    ]
    features = FeatureStore.write(dataset, tiny_features(), manifest={"faults": faults})
    entities = Entities(dataset, features)
    shown = [entities[dataset.entities.row[name]].pictures for name in ("e00", "e01")]
    folder = graph.resolve()
    assert shown == [[str(folder / "sound.png")], [str(folder / "sound.png"), str(folder / "broken.png")]]
