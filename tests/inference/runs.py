"""Graphs and run folders made in a blink."""

import json

import torch

from mmrns import load_dataset
from mmrns.config import Config
from mmrns.graph.vocabulary import Vocabulary
from mmrns.scoring import model_of
from mmrns.training.run_folder import RunFolder


def write_graph(folder, splits, records=(), relations=()):
    folder.mkdir(parents=True, exist_ok=True)
    for split, triples in splits.items():
        text = "".join("\t".join(triple) + "\n" for triple in triples)
        (folder / f"{split}.txt").write_text(text, encoding="utf-8")
    for name, rows in (("entities", records), ("relations", relations)):
        if rows:
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


def untrained_run(folder, dataset_folder, model="distmult", **options):
    """A run folder of a model as it is initialised, weights from a seed."""
    dataset = load_dataset(dataset_folder)
    config = Config(dataset=str(dataset_folder), output=str(folder), model=model, dim=6, **options)
    run = RunFolder(folder)
    run.claim(config)
    run.describe(config, dataset.entities, dataset.relations, "", anew=True)
    torch.manual_seed(0)
    run.save_weights({"model": model_of(config, len(dataset.entities), len(dataset.relations))}, 1)
    return folder


def asked_of(dataset, ask, relation, side):
    """Entities that `ask` names, by its definition."""
    seen = {row[side] for row in dataset.train.tolist() if row[1] == relation}
    kind = [dataset.records.get(name, {}).get("type") for name in dataset.entities.ids]
    if ask == "seen":
        return seen
    if ask == "all":
        return set(range(len(kind))) if seen else set()
    kinds = {kind[entity] for entity in seen} - {None, ""}
    return seen | {entity for entity, its in enumerate(kind) if its in kinds}


class OnlyTrain:
    """What `Questions` needs of a dataset."""

    def __init__(self, entities, relations, train):
        self.entities = Vocabulary("entity", [f"{n:04}" for n in range(entities)])
        self.relations = Vocabulary("relation", [f"{n:04}" for n in range(relations)])
        self.train, self.records = train, {}
