"""Graphs and run folders made in a blink."""

import json

import torch

from mmrns import load_dataset
from mmrns.config import Config
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
    run.describe(config, dataset.entities, dataset.relations, anew=True)
    torch.manual_seed(0)
    run.save_weights({"model": model_of(config, len(dataset.entities), len(dataset.relations))}, 1)
    return folder
