"""A graph small enough to train on in a blink, with pictures and texts as random features."""

import json
import random

import numpy as np

from mmrns.features import FeatureStore
from mmrns.graph.dataset import load_dataset

ENTITIES, RELATIONS = 60, 4
SHORT_RUN = {
    "model": "transe", "dim": 8, "num-negatives": 4, "pool-size": 20, "batch-size": 16, "steps": 30,
    "valid-every": 10, "log-every": 5, "schedule": "linear", "warmup-steps": 5, "learning-rate": 0.05,
    "device": "cpu", "threads": 1, "attention-width": 6, "structure-hidden": 6,
}  # fmt: skip


def write_tiny_graph(folder):
    """300 triples over 60 entities; e58 and e59 share a label, and e57 occurs in test alone."""
    rng = random.Random(0)
    triples = set()
    while len(triples) < 299:
        triples.add((f"e{rng.randrange(57):02}", f"r{rng.randrange(RELATIONS)}", f"e{rng.randrange(57):02}"))
    triples = sorted(triples)
    rng.shuffle(triples)
    triples = [("e58", "r0", "e59"), ("e59", "r1", "e58"), *triples, ("e57", "r2", "e00")]
    folder.mkdir(parents=True, exist_ok=True)
    for split, part in (("train", triples[:242]), ("valid", triples[242:272]), ("test", triples[272:])):
        (folder / f"{split}.txt").write_text("".join("\t".join(triple) + "\n" for triple in part), encoding="utf-8")
    records = [{"id": f"e{n:02}", "label": "The Twin" if n > 57 else f"Thing {n}"} for n in range(ENTITIES)]
    (folder / "entities.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    relations = [{"id": f"r{n}", "label": f"related {n}"} for n in range(RELATIONS)]
    (folder / "relations.jsonl").write_text("".join(json.dumps(r) + "\n" for r in relations), encoding="utf-8")
    return folder


def tiny_features(seed=0):
    """Two image tokens of width 5 for most entities, three text tokens of width 4 for most others."""
    rng = np.random.default_rng(seed)
    image, text = rng.random((ENTITIES, 2)) < 0.8, rng.random((ENTITIES, 3)) < 0.9
    return {
        "image": (rng.standard_normal((ENTITIES, 2, 5)).astype(np.float32), image),
        "text": (rng.standard_normal((ENTITIES, 3, 4)).astype(np.float32), text),
    }


def write_tiny_features(folder, into=None):
    FeatureStore.write(load_dataset(folder), tiny_features(), into)


def train_command(dataset, output, sampler="uniform", **options):
    """Arguments of a short `mmrns train`; underscores in option names stand for dashes."""
    given = SHORT_RUN | {"dataset": dataset, "output": output, "sampler": sampler}
    given |= {name.replace("_", "-"): value for name, value in options.items()}
    return ["train", *(text for name, value in given.items() for text in (f"--{name}", str(value)))]
