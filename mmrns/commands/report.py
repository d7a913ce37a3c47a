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
    from mmrns.report.comparison import Comparison, compare
    from mmrns.report.comparison_page import comparison_page
    from mmrns.report.page import check_output, write_page
    from mmrns.report.run_page import run_page
    from mmrns.report.run_report import RunReport, run_report

    folders: list[Path] = arguments.run_folders
    output: Path = arguments.output or (folders[0] / "report.html" if len(folders) == 1 else Path("report.html"))
    check_output(output)
    data: RunReport | Comparison
    if len(folders) == 1:
        data, pictured = run_report(folders[0])
        page = run_page(data, pictured, folders[0])
    else:
        data = compare(folders)
        page = comparison_page(data, folders)
    write_page(page, output)
    print(json.dumps(asdict(data), indent=2) if arguments.json else output)
