"""The ways that a compiled loop can go: compiled, by several threads, or in torch where there is no compiler."""

import torch

from mmrns import compiled


def several_threads(monkeypatch, number):
    """Compiled loops share even the least work among so many threads."""
    monkeypatch.setattr(compiled, "_WORK_OF_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: number)


def take(way, monkeypatch):
    """Go "torch" or "three threads"; any other way is the one that the machine takes."""
    if way == "torch":
        monkeypatch.setattr(compiled, "library", lambda source: None)
    if way == "three threads":
        several_threads(monkeypatch, 3)
