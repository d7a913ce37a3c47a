"""A graph of which everything is known: a binary tree of is_a, capitals, and two types."""

from pathlib import Path

import numpy as np

from mmrns.graph import Dataset, Vocabulary

LEAVES = 16
TREE = 2 * LEAVES - 1


def planted(types=True):
    """31 nodes of a tree (child is_a parent) and, beside each leaf, its capital: leaf has_capital capital."""
    nodes = [f"n{number:02}" for number in range(TREE)]
    capitals = [f"z{number:02}" for number in range(LEAVES)]
    entities = Vocabulary("entity", nodes + capitals)
    relations = Vocabulary("relation", ["has_capital", "is_a"])
    tree = [(child, 1, (child - 1) // 2) for child in range(1, TREE)]
    leaves = [(TREE - LEAVES + leaf, 0, TREE + leaf) for leaf in range(LEAVES)]
    triples = np.array(tree + leaves, dtype=np.int64)
    records = {name: {"id": name, "type": "node" if name in nodes else "capital"} for name in entities.ids}
    return Dataset(
        "planted", Path(), entities, relations, triples[::2], triples[1::4], triples[3::4], records if types else {}
    )
