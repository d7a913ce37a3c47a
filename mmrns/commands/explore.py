"""`mmrns explore RUN`: a page in the browser to ask a run, see why, and compare it with another."""

import argparse
import importlib.util
import sys
from pathlib import Path

from mmrns.errors import UserError

HELP = "open a page to ask a run by label, see its answers, hard negatives, attention and map, and compare two runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN, --compare, --host, --port, -k."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that mmrns train wrote")
    parser.add_argument("--compare", type=Path, metavar="RUN2", help="a second run on the same graph, side by side")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to serve on (default: 127.0.0.1, which only this machine reaches)"
    )
    parser.add_argument("--port", type=int, default=7860, help="port to serve on; 0: any free one (default: 7860)")
    parser.add_argument("-k", type=int, default=12, help="answers to a question (default: 12)")


def run(arguments: argparse.Namespace) -> None:
    """Open the runs and serve the page until interrupted."""
    if importlib.util.find_spec("gradio") is None:
        raise UserError("the explorer needs gradio, which is not installed; run: pip install 'gradio>=6'")
    from mmrns.explorer.server import application, bind, is_loopback, serve
    from mmrns.explorer.session import Explorer

    if arguments.k < 1:
        raise UserError(f"-k {arguments.k}: ask for at least 1 answer")
    with bind(arguments.host, arguments.port) as bound:
        explorer = Explorer(arguments.run_folder, arguments.compare, arguments.k)
        port = bound.getsockname()[1]
        page = application(explorer, arguments.host, port)
        explorer.prepare()
        host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
        print(f"http://{host}:{port}   (Ctrl+C ends it)", flush=True)
        if not is_loopback(arguments.host):
            print("whoever reaches this address can read the graph and its pictures", file=sys.stderr, flush=True)
        serve(page, bound)
