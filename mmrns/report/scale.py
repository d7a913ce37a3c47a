"""The tables of `mmrns benchmark scale`."""

from typing import Any

from mmrns.benchmark.comparison import machine
from mmrns.benchmark.scale import ScaleResult
from mmrns.report.tables import markdown_table


def scale_run(
    results: list[ScaleResult], ratios: list[tuple[float, float, float]], settings: dict[str, Any]
) -> dict[str, Any]:
    """The figures of one sampler as JSON holds them."""
    graphs = []
    for result, ratio in zip(results, ratios, strict=True):
        graphs.append(
            {
                "entities": result.entities,
                "train_triples": result.triples,
                "table_mb": round(result.table_mb, 1),
                "step_seconds": result.step,
                "step_ratio": dict(zip(("median", "low", "high"), ratio, strict=True)),
                "rows_updated": result.rows,
                "steps": len(result.steps),
                "queries_per_second": result.queries_per_second,
                "metrics": result.metrics,
                "loading_seconds": result.loading,
                "peak_mb": result.memory,
            }
        )
    return {"settings": settings, "graphs": graphs}


def scale_entry(runs: list[dict[str, Any]], command: str) -> dict[str, Any]:
    """All runs, and how they came about: the command as it is typed, not as the process was started."""
    return {"benchmark": "scale", "runs": runs, "command": command, "environment": machine()}


def scale_text(entry: dict[str, Any]) -> str:
    """The tables of every run and how they came about."""
    env = entry["environment"]
    versions = ", ".join(f"{name} {env['versions'][name]}" for name in ("mmrns", "torch", "numpy"))
    commit = (env["git_commit"] or "unknown")[:12] + (" with changes" if env["git_dirty"] else "")
    return "\n\n".join(
        [
            *(_run_text(run) for run in entry["runs"]),
            f"{env['cpus']} cores, {env['memory_mb'] // 1024} GB, {env['platform']}; {versions}; commit {commit}.\n"
            f"Command: `{entry['command']}`",
        ]
    )


def _run_text(run: dict[str, Any]) -> str:
    graphs = run["graphs"]
    kinds = list(graphs[0]["peak_mb"])
    header = ["entities", "train triples", "table MB", "step ms", "ratio", "rows a step", "queries/s", "loading s"]
    header += [f"peak {kind} MB" for kind in kinds]
    rows = []
    for graph in graphs:
        ratio = graph["step_ratio"]
        rows.append(
            [
                f"{graph['entities']:,}",
                f"{graph['train_triples']:,}",
                f"{graph['table_mb']:.0f}",
                f"{1000 * graph['step_seconds']:.1f}",
                f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
                f"{graph['rows_updated']:,}",
                f"{graph['queries_per_second']:.1f}",
                f"{sum(graph['loading_seconds'].values()):.1f}",
                *(f"{graph['peak_mb'][kind]:.0f}" for kind in kinds),
            ]
        )
    phases = list(graphs[0]["loading_seconds"])
    loading = [[phase, *(f"{graph['loading_seconds'][phase]:.2f}" for graph in graphs)] for phase in phases]
    shared = run["settings"].get("negatives_shared", 1)
    settings = ", ".join(f"{name} {value}" for name, value in run["settings"].items())
    return "\n\n".join(
        [
            f"## {run['settings']['sampler']}" + (f", {shared} queries share their negatives" if shared > 1 else ""),
            markdown_table(header, rows),
            "Seconds of loading, by phase:",
            markdown_table(["phase", *(f"{graph['entities']:,}" for graph in graphs)], loading),
            f"RotatE, {settings}. Median of {graphs[0]['steps']} steps; the ratio is to the first graph's, round by "
            f"round (least to greatest). Rows are those of the entity table that a step updates.",
        ]
    )


def scale_page(entry: dict[str, Any]) -> str:
    """results/scale.md."""
    return (
        "# Scale\n\nWritten by `mmrns benchmark scale --record`; how to read it: "
        "[docs/scale.md](../docs/scale.md).\n\n" + scale_text(entry) + "\n"
    )
