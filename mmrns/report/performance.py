"""Tables of `mmrns benchmark`, and the page of a record."""

from typing import Any

from mmrns.report.tables import markdown_table


def benchmark_text(entry: dict[str, Any]) -> str:
    """The tables of one benchmark's figures, one a comparison, and how they came about."""
    parts = []
    for part in entry["comparisons"]:
        unit = part["unit"]
        header = ["side", "seconds", f"{unit}/s", "times ours", "in CPU time", "peak MB", "phases"]
        rows = [_row(name, side, part["ratios"].get(name), unit) for name, side in part["sides"].items()]
        # What no side has is left out.
        kept = [column for column in range(len(header)) if any(row[column] for row in rows)]
        table = markdown_table([header[c] for c in kept], [[row[c] for c in kept] for row in rows])
        parts.append("\n\n".join([part["title"] + ":", table, *part["notes"]]))
    return "\n\n".join([*parts, provenance(entry)])


def provenance(entry: dict[str, Any]) -> str:
    """Machine, versions, load and command of an entry."""
    environment, load = entry["environment"], entry["load_average"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items() if version)
    commit = (environment["git_commit"] or "unknown")[:12] + (" with changes" if environment["git_dirty"] else "")
    busy = f"; load average at the end {load[0]:g}, {load[1]:g}, {load[2]:g}" if load else ""
    settings = ", ".join(f"{name} {value}" for name, value in entry["settings"].items())
    return (
        f"{entry['repetitions']} turns a side, median (least to greatest); {settings}; {environment['cpus']} cores, "
        f"{environment['memory_mb'] // 1024} GB{busy}. {versions}; Python {environment['python']}, "
        f"{environment['platform']}. {entry['date']}, commit {commit}.\n"
        f"Command: `{entry['command']}`"
    )


def performance_page(entries: list[dict[str, Any]]) -> str:
    """results/performance.md of all entries of a record."""
    parts = [
        "# Performance",
        "Written by `mmrns benchmark`, from performance.json beside it; how to read it: "
        '[docs/performance.md](../docs/performance.md). Sides of a table ran in turn in one process. "Times ours" is '
        "the other side's time over ours, turn by turn; peak memory is the largest resident set of a process of its "
        "own, libraries and features counted.",
    ]
    for entry in entries:
        size = entry["settings"].get("size")
        parts.append(f"## {entry['benchmark']}" + (f", {size}" if size else ""))
        parts.append(benchmark_text(entry))
    return "\n\n".join(parts) + "\n"


def _row(name: str, side: dict[str, Any], ratios: dict[str, Any] | None, unit: str) -> list[str]:
    shares = ", ".join(f"{phase} {share:.0%}" for phase, share in side["shares"].items())
    peak = side["peak_memory_mb"]
    return [
        name,
        _spread(side["seconds"]),
        _number(side[f"{unit}_per_second"]),
        _spread(ratios["wall"]) if ratios else "",
        _spread(ratios["cpu"]) if ratios else "",
        f"{peak:.0f}" if peak else "",
        shares,
    ]


def _spread(value: dict[str, float]) -> str:
    return f"{_number(value['median'])} ({_number(value['low'])} to {_number(value['high'])})"


def _number(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
