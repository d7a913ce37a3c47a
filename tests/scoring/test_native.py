"""The compiled loops against `score` in double precision, and what happens where they cannot be had."""

import contextlib
import ctypes
import gc
import logging
import os
import signal
import subprocess
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from mmrns import compiled
from mmrns.compiled import Loops
from mmrns.graph.answers import HEAD, TAIL, Queries
from mmrns.scoring import build_model, native
from mmrns.scoring.kernels import COMPLEX
from tests.scoring.test_scoring_functions import FUNCTIONS, every_variant
from tests.ways import several_threads, take

needs_compiler = pytest.mark.skipif(native.library() is None, reason="there is no C++ compiler")
QUERIES, EACH, ENTITIES, RELATIONS = 9, 11, 17, 3


def model_of(name, options, dim=24):
    """A model in single precision and the same in double."""
    torch.manual_seed(0)
    model = build_model(name, ENTITIES, RELATIONS, dim, 6.0, options)
    double = build_model(name, ENTITIES, RELATIONS, dim, 6.0, options).double()
    double.load_state_dict(model.state_dict())
    return model, double


def queries(direction, number=QUERIES, each=EACH):
    """Queries, and rows (number, each) to score as their answers; some rows come often, the last two never."""
    generator = torch.Generator().manual_seed(1)
    triples = torch.randint(0, RELATIONS, (number, 3), generator=generator)
    return Queries.of(triples, direction), torch.randint(0, ENTITIES - 2, (number, each), generator=generator)


def scored_and_gradients(model, score, weights):
    scores = score(model)
    (scores * weights.to(scores.dtype)).sum().backward()
    return [scores.detach(), *(p.grad for p in model.parameters())]


def by_score(model, asked, vectors):
    """Every candidate vector (B, n, w), by the scoring function's own `score`."""
    relation, direction = model.posed(asked.relation, asked.direction)
    anchor, relation = F.embedding(asked.anchor, model.entities.table)[:, None], model.relations(relation)[:, None]
    pair = (vectors, relation, anchor) if direction == HEAD else (anchor, relation, vectors)
    return model.scoring.score(*pair)


@needs_compiler
@every_variant
@pytest.mark.parametrize("direction", [HEAD, TAIL])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("path", ["by row", "few rows of many", "by vector", "all entities"])
def test_values_and_gradients_are_those_of_score(name, options, direction, threads, path, monkeypatch):
    several_threads(monkeypatch, threads)
    model, double = model_of(name, options)
    asked, rows = queries(direction, *((3, 2) if path == "few rows of many" else ()))

    def vectors(model):
        if path == "all entities":
            return model.entities.table.expand(QUERIES, -1, -1)
        return F.embedding(rows, model.entities.table)

    def score(model):
        if path == "all entities":
            return model.score_all(asked.anchor, asked.relation, direction)
        return (
            model.score_candidates(asked, vectors(model)) if path == "by vector" else model.score_entities(asked, rows)
        )

    weights = torch.randn(score(model).shape, generator=torch.Generator().manual_seed(2))
    found = scored_and_gradients(model, score, weights)
    expected = scored_and_gradients(double, lambda m: by_score(m, asked, vectors(m)), weights)
    assert found[0].dtype == torch.float32
    assert all(part.abs().sum() > 0 for part in expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=2e-5, atol=2e-5)


@needs_compiler
@every_variant
def test_the_same_threads_give_the_same_bits(name, options, monkeypatch):
    several_threads(monkeypatch, 3)
    asked, rows = queries(TAIL)
    runs = []
    for _ in range(2):
        model, _ = model_of(name, options)
        weights = torch.linspace(-1, 1, rows.numel()).view(rows.shape)
        runs.append(scored_and_gradients(model, lambda m: m.score_entities(asked, rows), weights))
    assert all(torch.equal(*pair) for pair in zip(*runs, strict=True))


@pytest.mark.parametrize("way", ["compiled", "torch"])
def test_equal_numbers_have_no_gradient_however_large_that_of_the_distance(way, monkeypatch):
    take(way, monkeypatch)
    vectors = torch.tensor([[1.0, -2.0, 0.5, 3.0]])
    query, table = vectors.clone().requires_grad_(), vectors.clone().requires_grad_()
    COMPLEX.every(query, table).backward(torch.full((1, 1), 65536.0))  # as the scale of a loss in half precision
    assert not query.grad.any() and not table.grad.any()


@needs_compiler
@every_variant
@pytest.mark.parametrize("path", ["rows", "every"])
def test_not_a_number_is_never_lost(name, options, path):
    model, _ = model_of(name, options)
    with torch.no_grad():
        model.entities.table[5, 7] = torch.nan
    asked = Queries(torch.tensor([0, 5]), torch.tensor([0, 1]), torch.tensor([1, 1]), TAIL)
    rows = torch.tensor([[1, 5], [1, 2]])
    if path == "rows":
        found = model.score_entities(asked, rows)
    else:
        found = model.score_all(asked.anchor, asked.relation, TAIL).gather(1, rows)
    assert torch.isnan(found).tolist() == [[False, True], [True, True]]


@needs_compiler
def test_an_empty_batch_has_no_scores():
    model, _ = model_of("rotate", {})
    nobody = torch.empty(0, dtype=torch.long)
    asked = Queries(nobody, nobody, nobody, TAIL)
    assert model.score_all(nobody, nobody, TAIL).shape == (0, ENTITIES)
    assert model.score_entities(asked, torch.empty(0, 4, dtype=torch.long)).shape == (0, 4)
    assert model.score_answers(asked).shape == (0,)


@needs_compiler
@pytest.mark.parametrize("row", [-1, ENTITIES])
def test_a_row_that_the_table_lacks_is_an_error(row):
    with pytest.raises(IndexError, match=f"of a table of {ENTITIES}"):
        native.Grouped(torch.tensor([[0, row]]), ENTITIES, 8)


@needs_compiler
def test_widths_that_do_not_fit_are_an_error():
    with pytest.raises(RuntimeError, match="must match"):
        COMPLEX.rows(torch.zeros(2, 4), torch.zeros(3, 8), torch.zeros(2, 1, dtype=torch.long))


@pytest.fixture
def forgetful(monkeypatch):
    """The library is looked for anew within the test, and again after it; it is compiled without optimising."""
    monkeypatch.setattr(compiled, "_FLAGS", [flag for flag in compiled._FLAGS if flag != "-O3"])
    compiled.library.cache_clear()
    yield
    compiled.library.cache_clear()


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("reason", ["switched off", "no compiler", "a compiler that fails", "one that is not there"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_without_the_loops_torch_gives_the_same_scores_and_gradients(name, reason, monkeypatch, tmp_path, caplog):
    if reason == "switched off":
        monkeypatch.setenv("MMRNS_NATIVE", "0")
    elif reason == "no compiler":
        monkeypatch.delenv("CXX", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setenv("CXX", "false" if reason == "a compiler that fails" else "/no/such compiler")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert native.library() is None
    assert len(caplog.records) == (reason != "switched off")
    model, double = model_of(name, {})
    asked, rows = queries(HEAD)
    weights = torch.linspace(-1, 1, rows.numel()).view(rows.shape)
    found = scored_and_gradients(model, lambda m: m.score_entities(asked, rows), weights)
    expected = scored_and_gradients(double, lambda m: by_score(m, asked, F.embedding(rows, m.entities.table)), weights)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=2e-5, atol=2e-5)


@needs_compiler
@pytest.mark.usefixtures("forgetful")
def test_the_loops_are_compiled_once_and_kept_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert native.library() is not None
    built = list((tmp_path / "mmrns").iterdir())
    assert [path.suffix for path in built] == [".so"]
    compiled.library.cache_clear()
    monkeypatch.setattr(subprocess, "run", None)
    assert native.library() is not None


@needs_compiler
@pytest.mark.usefixtures("forgetful")
def test_a_compiler_may_be_a_command_of_several_words(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number, command in enumerate(("env c++", "env LANG=C c++"), start=1):
        monkeypatch.setenv("CXX", command)
        compiled.library.cache_clear()
        assert native.library() is not None
        assert len(list((tmp_path / "mmrns").iterdir())) == number


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize(
    "command",
    ["true", "'c++", "sh -c 'echo >&2; exit 1'"],
    ids=["makes nothing", "a quote that does not end", "fails with a blank line"],
)
def test_a_command_that_compiles_nothing_stops_nobody(command, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("CXX", command)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert native.library() is None
    assert len(caplog.records) == 1


@needs_compiler
@pytest.mark.usefixtures("forgetful")
def test_a_home_that_cannot_be_written_is_no_obstacle(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert native.library() is not None


@needs_compiler
def test_threads_of_our_own_do_what_those_of_torch_do(monkeypatch):
    several_threads(monkeypatch, 3)
    asked, rows = queries(TAIL)
    weights = torch.linspace(-1, 1, rows.numel()).view(rows.shape)
    runs = []
    for team in (compiled._team, lambda: None):
        monkeypatch.setattr(compiled, "_team", team)
        model, _ = model_of("rotate", {})
        runs.append(scored_and_gradients(model, lambda m: m.score_entities(asked, rows), weights))
    assert all(torch.equal(*pair) for pair in zip(*runs, strict=True))


@needs_compiler
@pytest.mark.skipif(os.name != "posix", reason="this system has no usleep")
@pytest.mark.parametrize("threads", ["torch's", "our own"])
def test_an_interrupt_comes_through_whatever_range_it_meets(threads, monkeypatch):
    """Within a function of Python's that C calls, it would be printed and lost, and the range left as it was."""
    team = compiled._team() if threads == "torch's" else None
    monkeypatch.setattr(compiled, "_team", lambda: team)
    monkeypatch.setattr(compiled, "library", lambda source: ctypes.CDLL(None))
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            Loops(Path("none.cpp")).share("usleep", [(300_000, 0)] * 2, lambda part: ())
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_what_a_thread_of_our_own_still_writes_to_outlives_an_interrupt(monkeypatch):
    go = threading.Event()

    def loop(numbers, first, last):
        if first.value == 0:
            raise KeyboardInterrupt
        go.wait()

    monkeypatch.setattr(compiled, "_team", lambda: None)
    monkeypatch.setattr(compiled, "library", lambda source: SimpleNamespace(loop=loop))
    numbers = [torch.zeros(1), torch.zeros(1)]
    alive = weakref.ref(numbers[1])
    with contextlib.suppress(KeyboardInterrupt):
        Loops(Path("none.cpp")).share("loop", [(0, 1), (1, 2)], lambda part: (numbers[part],))
    numbers.clear()
    gc.collect()
    lives = alive() is not None
    go.set()
    assert lives


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_scores_too(monkeypatch):
    several_threads(monkeypatch, 2)
    model, _ = model_of("transe", {})
    with torch.no_grad():
        queries, table = model.entities.table[:4].clone(), model.entities.table.detach()
        before = native.every("manhattan", queries, table)
    context = torch.multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=lambda: answers.put(native.every("manhattan", queries, table).tolist()), daemon=True)
    child.start()
    assert answers.get() == before.tolist()
    child.join()
