"""Comparisons of sides, their figures as plain data, and whether figures fell behind those of a record."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmrns.benchmark.alternation import Side, Spread, Times, alternate, peak_memory, ratios
from mmrns.errors import UserError
from mmrns.files import claimed, lock_file, read_json, write_json, write_text
from mmrns.training.run_folder import environment


@dataclass(frozen=True)
class Comparison:
    """Sides that do the same work; the first is ours.

    Attributes:
        title: what is compared.
        unit: of the work: triples, queries.
        sides: name -> side.
        memory: names of the sides whose peak memory is measured, each in a process of its own.
        notes: what else is to be said of it.
        check: makes sure that the sides' answers agree; what it returns is a note.
        also: title -> names of some of the sides, ours first: a further table of the same turns.
    """

    title: str
    unit: str
    sides: Mapping[str, Side]
    memory: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    check: Callable[[], str] | None = None
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def measure(
    benchmark: str,
    settings: dict[str, Any],
    comparisons: Iterable[Comparison],
    repetitions: int,
    threads: int,
    tell: Callable[[str], None] = lambda title: None,
) -> dict[str, Any]:
    """Run the comparisons one after another; returns their figures, as JSON has them.

    Args:
        benchmark: name of the benchmark.
        settings: what figures must share to be comparable.
        comparisons: what to run. Memory is measured first, while this process is small.
        repetitions: turns of every side.
        threads: CPU threads of torch, for every side; named in the settings too.
        tell: is given the title of each comparison as it begins.
    """
    comparisons = list(comparisons)
    torch.set_num_threads(threads)
    memory = [{name: peak_memory(part.sides[name], threads) for name in part.memory} for part in comparisons]
    found = []
    for part, peaks in zip(comparisons, memory, strict=True):
        tell(part.title)
        notes = [*part.notes, *([part.check()] if part.check else [])]
        times = alternate(part.sides, repetitions)
        for title, names in ({part.title: tuple(part.sides)} | dict(part.also)).items():
            found.append(_figures(part, title, names, times, peaks) | {"notes": notes})
    return {
        "benchmark": benchmark,
        "settings": settings,
        "repetitions": repetitions,
        "comparisons": found,
        "load_average": [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "date": time.strftime("%Y-%m-%d"),
        "environment": machine(),
    }


def machine() -> dict[str, Any]:
    """What a record says of where its figures were made: not the host's name; the command is said apart, as typed."""
    return {name: value for name, value in environment().items() if name not in ("command", "host")}


def _figures(
    part: Comparison, title: str, names: tuple[str, ...], times: dict[str, Times], peaks: dict[str, float]
) -> dict[str, Any]:
    ours, *others = names
    sides = {}
    for name in names:
        side, took = part.sides[name], times[name]
        sides[name] = {
            "seconds": asdict(Spread.of(took.wall)),
            "cpu_seconds": asdict(Spread.of(took.cpu)),
            f"{part.unit}_per_second": side.work / Spread.of(took.wall).median,
            "shares": took.shares(),
            "peak_memory_mb": peaks.get(name),
        }
    against = {
        name: {
            "wall": asdict(ratios(times[name].wall, times[ours].wall)),
            "cpu": asdict(ratios(times[name].cpu, times[ours].cpu)),
        }
        for name in others
    }
    return {
        "title": title,
        "unit": part.unit,
        "ours": ours,
        "sides": sides,
        "ratios": against,
    }


def read_record(path: Path) -> list[dict[str, Any]]:
    """The entries of a record; none when there is no such file.

    Raises:
        UserError: the file is not a record.
    """
    if not path.is_file():
        return []
    mend = "restore it, or record anew into another file"
    entries = read_json(path, mend)
    if not isinstance(entries, list) or not all(isinstance(e, dict) and "comparisons" in e for e in entries):
        raise UserError(f"{path}: not a record of mmrns benchmark; {mend}")
    return entries


def add_to_record(path: Path, entry: dict[str, Any], page: Callable[[list[dict[str, Any]]], str] | None = None) -> None:
    """Write the entry in the place of one with equal benchmark and settings; one process at a time.

    Args:
        path: of the record.
        entry: what `measure` found.
        page: makes of all entries the page that is written beside the record.
    """
    with claimed(path, wait=True):
        entries = [other for other in read_record(path) if _identity(other) != _identity(entry)]
        entries = sorted([*entries, entry], key=lambda e: (e["benchmark"], str(e["settings"])))
        write_json(path, entries)
        if page:
            write_text(path.with_suffix(".md"), page(entries))
        lock_file(path).unlink(missing_ok=True)


def recorded(path: Path, benchmark: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The record's entry of this benchmark with these settings.

    Raises:
        UserError: there is none.
    """
    for entry in read_record(path):
        if (entry["benchmark"], entry["settings"]) == (benchmark, settings):
            return entry
    raise UserError(f"{path}: holds no figures with these settings; run once with --record {path}")


def behind(
    then: dict[str, Any], now: dict[str, Any], tolerance: float, absent: Mapping[str, str] | None = None
) -> list[str]:
    """A line for each recorded ratio that an entry fell behind beyond noise, or does not have.

    A ratio has fallen behind when even its best turn, with `tolerance` (a share) on top, is below the worst turn of
    the record, both by the clock and in processor time: what else runs on a machine shows in one of them only.

    Args:
        then: the recorded entry.
        now: what was measured.
        tolerance: see above.
        absent: rival -> why it could not be measured now.
    """
    lines = []
    measured = {part["title"]: part["ratios"] for part in now["comparisons"]}
    for part in then["comparisons"]:
        for rival, before in part["ratios"].items():
            found, was = measured.get(part["title"], {}).get(rival), f"it was {before['wall']['median']:.2f}"
            if found is None:
                why = f" ({absent[rival]})" if absent and rival in absent else ""
                lines.append(f"{part['title']}: {rival} was not measured now{why}; {was} times as long as ours")
            elif all(found[kind]["high"] * (1 + tolerance) < before[kind]["low"] for kind in ("wall", "cpu")):
                taken = f"{found['wall']['median']:.2f} times as long as ours"
                lines.append(f"{part['title']}: {rival} takes {taken}; {was}")
    return lines


def _identity(entry: dict[str, Any]) -> tuple[str, Any]:
    return entry["benchmark"], entry["settings"]
