"""The trials of a search as people read them."""

from typing import Any

from mmrns.report.tables import markdown_table


def tuning_markdown(summary: dict[str, Any]) -> str:
    """A row a trial, the best first, then those without a value; below them how much each option mattered.

    Args:
        summary: of mmrns.experiments.tuning_record.summary.
    """
    trials = sorted(summary["trials"], key=lambda trial: (trial["value"] is None, -(trial["value"] or 0.0)))
    options = list(dict.fromkeys(name for trial in trials for name in trial["options"]))
    rows = [
        [
            str(trial["number"]),
            trial["state"],
            "" if trial["value"] is None else f"{trial['value']:.4f}",
            str(trial["step"]),
            f"{trial['seconds']:.0f}",
            *(_text(trial["options"].get(name)) for name in options),
            trial["why"],
        ]
        for trial in trials
    ]
    table = markdown_table(["trial", "state", "value", "step", "seconds", *options, "why"], rows)
    best = summary["best"]
    lines = [f"{summary['study']}: trials that ended or were pruned: {summary['counted']}", "", table, ""]
    lines.append(f"best: {best['value']:.4f}, trial {best['number']}" if best else "no trial is complete yet")
    if summary["importance"]:
        lines += [
            "",
            markdown_table(["option", "importance"], [[n, f"{v:.2f}"] for n, v in summary["importance"].items()]),
        ]
    return "\n".join(lines)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
