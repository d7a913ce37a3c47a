"""`mmrns predict RUN`: the most plausible answers to one question, or new facts over all of them."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmrns.errors import UserError

HELP = "answer (head, relation, ?) or (?, relation, tail) with a trained run, or propose new facts with --all"

_OF_ALL = ("output", "top", "questions", "calibration", "precision")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN, --head or --tail, --relation, -k, --json; --all and what belongs to it."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that mmrns train or mmrns ensemble wrote")
    parser.add_argument("--head", help="id or label of the head; its tails are predicted")
    parser.add_argument("--tail", help="id or label of the tail; its heads are predicted")
    parser.add_argument("--relation", help="id or label of the relation; with --all: of this relation only")
    parser.add_argument("-k", type=int, default=10, help="number of answers a question (default: 10)")
    parser.add_argument("--json", action="store_true", help="print answers, or with --all a summary, as JSON")
    group = parser.add_argument_group("completing the graph")
    group.add_argument("--all", action="store_true", help="ask every sensible question, and write the new facts")
    group.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where to: a .parquet, .tsv or .nt (N-Triples) file (default: predictions.parquet in RUN)",
    )
    group.add_argument(
        "--top", type=int, metavar="N", help="the N most plausible facts, best first; 0: -k a question (default: 1000)"
    )
    group.add_argument(
        "--questions",
        choices=("type", "seen", "all"),
        help="ask entities of a type that train shows on this side of the relation (untyped ones: as seen), entities "
        "that train itself shows there, or all (default: type)",
    )
    group.add_argument(
        "--calibration",
        choices=("isotonic", "logistic", "none"),
        help="how scores become probabilities, fitted on valid (default: isotonic)",
    )
    group.add_argument(
        "--precision",
        type=float,
        metavar="P",
        help="keep a fact only where its relation reaches this precision on valid: 0.1, 0.2, … 0.9 (default: keep all)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Predict and print."""
    if arguments.all:
        _complete(arguments)
        return
    given = next((name for name in _OF_ALL if getattr(arguments, name) is not None), None)
    if given:
        raise UserError(f"--{given}: belongs to --all; give that too, or leave it out")
    if arguments.relation is None:
        raise UserError("--relation: missing; give the relation to ask of, or --all to ask of every one")
    _answer(arguments)


def _answer(arguments: argparse.Namespace) -> None:
    """One question, known answers marked with the split that lists them."""
    from mmrns.graph.held_out import dataset_of
    from mmrns.inference import load_answerer
    from mmrns.report.tables import markdown_table

    trained = load_answerer(arguments.run_folder)
    try:
        dataset = dataset_of(trained.config)
    except UserError as error:  # a model travels without its graph; it only cannot tell what is known
        print(f"known answers are not marked: {error}", file=sys.stderr)
        dataset = None
    answers = trained.predict(
        head=arguments.head, relation=arguments.relation, tail=arguments.tail, k=arguments.k, dataset=dataset
    )
    if arguments.json:
        print(json.dumps([asdict(answer) for answer in answers], indent=2, ensure_ascii=False))
        return
    rows = [[str(a.rank), a.label, a.id, f"{a.score:.3f}", a.known or ("new" if dataset else "?")] for a in answers]
    print(markdown_table(["rank", "answer", "id", "score", "known"], rows))


def _complete(arguments: argparse.Namespace) -> None:
    """All questions."""
    for name in ("head", "tail"):
        if getattr(arguments, name) is not None:
            raise UserError(f"--all --{name}: --all asks of every entity; leave one of them out")

    from mmrns.graph.held_out import dataset_of
    from mmrns.inference import load_answerer
    from mmrns.inference.completion import Completion
    from mmrns.inference.facts_file import check_output, write_facts
    from mmrns.processes import device_of

    trained = load_answerer(arguments.run_folder)
    if arguments.output is None and not arguments.run_folder.is_dir():
        raise UserError("--output: missing; the model is not in a folder here, so say where its facts should go")
    output = arguments.output or arguments.run_folder / "predictions.parquet"
    top = 1000 if arguments.top is None else arguments.top
    check_output(output, top)
    trained.model.to(device_of(trained.config.device))
    completion = Completion(
        trained,
        dataset_of(trained.config),
        k=arguments.k,
        ask=arguments.questions or "type",
        method=arguments.calibration or "isotonic",
        precision=arguments.precision,
        relation=arguments.relation,
        progress=True,
    )
    summary = {"output": str(output), **write_facts(completion, output, top)}
    quality = completion.calibration.quality if completion.calibration else None
    if arguments.json:
        print(json.dumps(summary | {"quality": quality}, indent=2, ensure_ascii=False))
        return
    resumed = f" ({summary['resumed']} answered by an interrupted call)" if summary["resumed"] else ""
    print(f"{summary['questions']} questions asked{resumed}; {summary['facts']} new facts in {output}")
    if quality:
        print(_quality(quality))


def _quality(quality: dict[str, Any]) -> str:
    """What held-out facts say of such a list, in two lines."""
    shown = [row for row in quality["precision_at"] if row["k"] in (10, 100, 1000)]
    precision = ", ".join(f"{row['precision']:.3f} of the first {row['k']}" for row in shown) or "too few to tell"
    errors = quality["errors"]
    return (
        f"check against the {quality['held_out']} facts of {quality['split']}: true are {precision}\n"
        f"of the facts proposed, {errors['expected']:.0f} are expected to be true and {errors['observed']} are, "
        f"calibration error {errors['ece']:.4f} (calibration.json)"
    )
