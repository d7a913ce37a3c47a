"""The tables of `mmrns benchmark scale`."""

from typing import Any

from mmrns.benchmark.scale import ScaleResult
from mmrns.report.tables import markdown_table
from mmrns.training.run_folder import environment


def scale_entry(
    results: list[ScaleResult], ratios: list[tuple[float, float, float]], settings: dict[str, Any], command: str
) -> dict[str, Any]:
    """All figures as JSON holds them."""
    graphs = []
    for result, ratio in zip(results, ratios, strict=True):
        graphs.append(
            {
                "entities": result.entities,
                "train_triples": result.triples,
                "table_mb": round(result.table_mb, 1),
                "step_seconds": result.step,
                "step_ratio": dict(zip(("median", "low", "high"), ratio, strict=True)),
                "steps": len(result.steps),
                "queries_per_second": result.queries_per_second,
                "metrics": result.metrics,
                "loading_seconds": result.loading,
                "peak_mb": result.memory,
            }
        )
    return {"benchmark": "scale", "settings": settings, "graphs": graphs, "command": command} | {
        "environment": environment()
    }


def scale_text(entry: dict[str, Any]) -> str:
    """The tables and how they came about."""
    graphs = entry["graphs"]
    kinds = list(graphs[0]["peak_mb"])
    header = ["entities", "train triples", "table MB", "step ms", "ratio", "queries/s", "loading s"]
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
                f"{graph['queries_per_second']:.1f}",
                f"{sum(graph['loading_seconds'].values()):.1f}",
                *(f"{graph['peak_mb'][kind]:.0f}" for kind in kinds),
            ]
        )
    phases = list(graphs[0]["loading_seconds"])
    loading = [[phase, *(f"{graph['loading_seconds'][phase]:.2f}" for graph in graphs)] for phase in phases]
    env = entry["environment"]
    versions = ", ".join(f"{name} {env['versions'][name]}" for name in ("mmrns", "torch", "numpy"))
    settings = ", ".join(f"{name} {value}" for name, value in entry["settings"].items())
    commit = (env["git_commit"] or "unknown")[:12] + (" with changes" if env["git_dirty"] else "")
    return "\n\n".join(
        [
            markdown_table(header, rows),
            "Seconds of loading, by phase:",
            markdown_table(["phase", *(f"{graph['entities']:,}" for graph in graphs)], loading),
            f"Median of {graphs[0]['steps']} steps; the ratio is to the first graph's, round by round (least to "
            f"greatest). RotatE, {settings}. {env['cpus']} cores, {env['memory_mb'] // 1024} GB, {env['platform']}; "
            f"{versions}; commit {commit}.\nCommand: `{entry['command']}`",
        ]
    )


def scale_page(entry: dict[str, Any]) -> str:
    """results/scale.md."""
    return (
        "# Scale\n\nWritten by `mmrns benchmark scale`; how to read it: [docs/scale.md](../docs/scale.md).\n\n"
        + scale_text(entry)
        + "\n"
    )
