"""`mmrns check`: what may be wrong with a dataset. It changes nothing."""

import argparse
from pathlib import Path
from typing import Any

HELP = "diagnose a dataset: leaks between splits, unseen entities, missing pictures, features that do not fit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --features, --strict and --json."""
    parser.add_argument("dataset", metavar="DATASET", help="name or folder of a dataset")
    parser.add_argument(
        "--features", type=Path, metavar="FOLDER", help="check the features in this folder, not the dataset's own"
    )
    parser.add_argument("--strict", action="store_true", help="exit with status 1 if there is a warning or an error")
    parser.add_argument("--json", action="store_true", help="print summary and findings as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Print the diagnosis; with --strict, leave with status 1 when something deserves a decision."""
    import json

    result = diagnose(arguments.dataset, arguments.features)
    print(json.dumps(result, indent=2, ensure_ascii=False) if arguments.json else as_text(result))
    if arguments.strict and (result["errors"] or result["warnings"]):
        raise SystemExit(1)


def diagnose(name: str, features: Path | None = None) -> dict[str, Any]:
    """Summary and findings of a dataset, gravest first: what --json prints.

    Raises UserError when the dataset cannot be read at all.
    """
    from dataclasses import asdict

    from mmrns.evaluation.breakdowns import entities_with
    from mmrns.features.check import coverage, listed_without_features, open_checked
    from mmrns.features.mapped import MODALITIES
    from mmrns.graph.check import check_dataset, summarize
    from mmrns.graph.dataset import load_dataset

    dataset = load_dataset(name)
    store, findings = open_checked(dataset, features)
    if store is not None:
        findings += listed_without_features(dataset, store)
    presence = {modality: entities_with(dataset, store, modality) for modality in MODALITIES}
    findings += coverage(dataset, presence, "entities.jsonl" if store is None else "features")
    findings = check_dataset(dataset) + findings
    gravity = ("error", "warning", "note")
    findings.sort(key=lambda finding: gravity.index(finding.severity))
    return {
        "dataset": dataset.name,
        "folder": str(dataset.folder),
        "summary": summarize(dataset)
        | {"features": {name: list(store.shape(name)) for name in store.modalities} if store else {}},
        **{f"{severity}s": sum(finding.severity == severity for finding in findings) for severity in gravity},
        "findings": [asdict(finding) for finding in findings],
    }


def as_text(result: dict[str, Any]) -> str:
    """The diagnosis for people."""
    from mmrns.report.tables import markdown_table

    parts = [f"{result['dataset']} ({result['folder']})", markdown_table(["fact", "value"], _summary_rows(result))]
    if result["findings"]:
        table = [
            [entry["severity"], entry["code"], entry["where"], f"{entry['count']:,}"] for entry in result["findings"]
        ]
        parts.append(markdown_table(["severity", "finding", "where", "count"], table))
    for entry in result["findings"]:
        head = f"{entry['severity']}: {entry['code']} ({entry['where']}): {entry['explanation']}"
        parts.append("\n".join([head, *(f"    {example}" for example in entry["examples"])]))
    counts = {severity: result[f"{severity}s"] for severity in ("error", "warning", "note")}
    parts.append(", ".join(f"{number} {severity}{'s' * (number != 1)}" for severity, number in counts.items()))
    return "\n\n".join(parts)


def _summary_rows(result: dict[str, Any]) -> list[list[str]]:
    summary = result["summary"]
    distinct, listed = summary["distinct_triples"], summary["listed_entities"]
    rows = [["entities", f"{summary['entities']:,}"], ["relations", f"{summary['relations']:,}"]]
    for split, number in summary["triples"].items():
        rows.append(
            [f"{split} triples", f"{number:,}" + (f" ({distinct[split]:,} distinct)" * (distinct[split] < number))]
        )
    categories = ", ".join(f"{name}: {number}" for name, number in summary["relation_categories"].items())
    rows.append(["relations of train by category", categories])
    rows.append(["mean degree in train", f"{summary['mean_degree']:.2f}"])
    rows += [[f"entities with {key}", f"{number:,}"] for key, number in listed.items()]
    shapes = ", ".join(f"{name} {tokens} x {width}" for name, (tokens, width) in summary["features"].items())
    return [*rows, ["features", shapes or "none"]]
