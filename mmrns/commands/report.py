"""`mmrns report RUN [RUN ...]`: a page to read and to share, of one run or of several side by side."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

HELP = "make report.html: a run, or several side by side, as one file that needs no network"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN ..., --output, --json."""
    parser.add_argument("run_folders", type=Path, nargs="+", metavar="RUN", help="folder that mmrns train wrote")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where to (default: report.html in RUN; of several runs, in the current folder)",
    )
    parser.add_argument("--json", action="store_true", help="print what the page shows as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Measure, write the page, and say where it is."""
    from mmrns.report.page import write_page
    from mmrns.report.run_page import run_page
    from mmrns.report.run_report import run_report

    folders: list[Path] = arguments.run_folders
    output = arguments.output or folders[0] / "report.html"
    report, pictured = run_report(folders[0])
    write_page(run_page(report, pictured, folders[0]), output)
    if arguments.json:
        print(json.dumps(asdict(report), indent=2))
    else:
        print(output)
