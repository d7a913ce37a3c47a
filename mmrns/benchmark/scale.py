"""What training and evaluation cost as the graph grows: each size in a process of its own, in turn."""

import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmrns.config import Config
from mmrns.errors import UserError
from mmrns.evaluation import rank_triples, ranking_metrics
from mmrns.evaluation.sample import sampled_triples
from mmrns.graph import load_dataset
from mmrns.graph.statistics import relation_categories
from mmrns.memory import tuned_process
from mmrns.training.batches import Batches, derived_seed
from mmrns.training.loop import open_features
from mmrns.training.objective import build_objective
from mmrns.training.optimizer import build_optimizer, sparse_table

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class ScaleResult:
    """Figures of one graph.

    Attributes:
        entities, triples: of the graph; triples of train.
        table_mb: size of the entity table, in 10^6 bytes.
        loading: phase -> seconds.
        steps: seconds of each step, in the order measured.
        rows: of the entity table that a step updates, the median. A small graph's draws meet the same rows more often.
        queries_per_second: ranked against all entities.
        metrics: of the sample that was ranked.
        memory: peaks in 10^6 bytes, see `Peaks`.
    """

    entities: int
    triples: int
    table_mb: float
    loading: dict[str, float]
    steps: list[float]
    rows: int
    queries_per_second: float
    metrics: dict[str, Any]
    memory: dict[str, float]

    @property
    def step(self) -> float:
        """Median seconds a step."""
        return statistics.median(self.steps)


class Peaks:
    """Largest sizes of this process, in 10^6 bytes, from /proc (Linux).

    "resident" is VmHWM, the kernel's own record of everything that was mapped at once, pages of files counted.
    "anonymous" and "file" are the largest of samples: memory of the program's own, and pages of mapped files, which the
    kernel takes back when another program wants the room. Empty where there is no /proc.
    """

    def __init__(self, every: float = 0.05) -> None:
        self._seen: dict[str, float] = {}
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def read(self) -> dict[str, float]:
        """The peaks so far."""
        self._look()
        return dict(self._seen)

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            self._look()

    def _look(self) -> None:
        if not _STATUS.exists():
            return
        fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
        for name, field in (("resident", "VmHWM"), ("anonymous", "RssAnon"), ("file", "RssFile")):
            if field in fields:
                megabytes = int(fields[field].split()[0]) * 1024 / 1e6
                self._seen[name] = max(self._seen.get(name, 0.0), megabytes)


class _Graph:
    """One graph, loaded phase by phase and ready to step and to rank, as `mmrns train` does both."""

    def __init__(self, config: Config) -> None:
        torch.set_num_threads(config.threads or 1)
        self.config = config
        self.loading: dict[str, float] = {}
        device = torch.device("cpu")
        with self._phase("triples and names"):
            self.dataset = load_dataset(config.dataset)
        with self._phase("fingerprint of the names"):
            _ = self.dataset.entities.sha256, self.dataset.relations.sha256
        with self._phase("answers of train"):
            self.dataset.answers("train")
        with self._phase("known answers"):
            self.known = self.dataset.answers()
        with self._phase("relation categories"):
            relation_categories(self.dataset.train, len(self.dataset.relations))
        with self._phase("features opened"):
            self.features = open_features(self.dataset, config, device)
        with self._phase("model and optimiser"):
            torch.manual_seed(config.seed)
            self.objective = build_objective(config, self.dataset, self.features, device)
            entities = self.objective.model.entities
            entities.sparse = sparse_table(config, entities)
            self.optimizer = build_optimizer(config, self.objective)
        self.triples = torch.from_numpy(self.dataset.train)
        self.batches = Batches.of(config, self.triples)
        self.generator = torch.Generator()
        self.done = 0
        self.updated: list[int] = []

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.loading[name] = time.perf_counter() - started

    def step(self) -> float:
        self.done += 1
        started = time.perf_counter()
        rows = self.batches.rows(self.done)
        self.generator.manual_seed(derived_seed(self.config.seed, self.done, 0, 1))
        self.objective(self.triples[rows], self.done, self.generator, False).loss.backward()
        self.optimizer.step()
        gradient = self.objective.model.entities.table.grad
        self.optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - started
        if gradient is not None:
            self.updated.append(len(gradient._indices()[0].unique()) if gradient.is_sparse else len(gradient))
        return seconds

    def steps(self, number: int) -> list[float]:
        return [self.step() for _ in range(number)]

    def rank(self, number: int) -> tuple[float, dict[str, Any]]:
        triples = sampled_triples(self.dataset.test, number)
        started = time.perf_counter()
        ranks = rank_triples(self.objective.model, triples, self.known, self.config.eval_memory_mb)
        return 2 * len(triples) / (time.perf_counter() - started), ranking_metrics(ranks)

    def size(self) -> tuple[int, int, float, int]:
        table_mb = self.objective.model.entities.table.nbytes / 1e6
        return len(self.dataset.entities), len(self.dataset.train), table_mb, round(statistics.median(self.updated))


@tuned_process()
def _serve(connection: Connection, config: Config) -> None:
    """Load a graph, then do what the parent asks for by name until it asks for nothing."""
    peaks = Peaks()
    try:
        try:
            graph = _Graph(config)
        except UserError as error:
            connection.send(error)
            return
        connection.send(graph.loading)
        while (asked := connection.recv()) is not None:
            name, *given = asked
            connection.send(peaks.read() if name == "memory" else getattr(graph, name)(*given))
    finally:
        peaks.close()


def measure_scale(
    configs: list[Config],
    rounds: int,
    steps_a_round: int,
    queries: int,
    warm_up: int = 5,
    tell: Callable[[str], None] = lambda line: None,
) -> list[ScaleResult]:
    """Load, train and evaluate every configuration's dataset, each in a fresh process.

    Steps are taken in turn, `steps_a_round` of each graph a round, so that the machine's moods hit all alike.

    Args:
        configs: one a graph; only datasets should differ.
        queries: triples of test that are ranked, both ways, after the steps.
        tell: is given a line on what is being done.

    Raises:
        UserError: a dataset or an option that cannot be loaded.
    """
    context = multiprocessing.get_context("spawn")
    connections, processes, loading = [], [], []
    try:
        for config in configs:
            tell(f"loading {config.dataset}")
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, config), daemon=True)
            process.start()
            theirs.close()
            connections.append(ours)
            processes.append(process)
            loaded = ours.recv()
            if isinstance(loaded, UserError):
                raise loaded
            loading.append(loaded)

        def ask(connection: Connection, *what: object) -> Any:
            connection.send(what)
            return connection.recv()

        seconds: list[list[float]] = [[] for _ in configs]
        for connection in connections:
            ask(connection, "steps", warm_up)
        for number in range(rounds):
            tell(f"steps, round {number + 1} of {rounds}")
            for connection, taken in zip(connections, seconds, strict=True):
                taken += ask(connection, "steps", steps_a_round)
        results = []
        for config, connection, phases, taken in zip(configs, connections, loading, seconds, strict=True):
            tell(f"ranking {queries} triples of {config.dataset}")
            speed, metrics = ask(connection, "rank", queries)
            memory = ask(connection, "memory")
            entities, triples, table_mb, rows = ask(connection, "size")
            results.append(ScaleResult(entities, triples, table_mb, phases, taken, rows, speed, metrics, memory))
            connection.send(None)
        return results
    finally:
        for connection in connections:
            connection.close()
        for process in processes:
            process.join(5)
            if process.is_alive():
                process.terminate()


def step_ratios(results: list[ScaleResult], steps_a_round: int) -> list[tuple[float, float, float]]:
    """Step time over the first graph's: median of the rounds' ratios, least and greatest; one triple a graph."""
    found = []
    first = _by_round(results[0].steps, steps_a_round)
    for result in results:
        ratios = _by_round(result.steps, steps_a_round) / first
        found.append((float(np.median(ratios)), float(ratios.min()), float(ratios.max())))
    return found


def _by_round(seconds: list[float], steps_a_round: int) -> Any:
    return np.median(np.array(seconds).reshape(-1, steps_a_round), axis=1)
