"""`mmrns benchmark`: one file in this folder a benchmark, with `HELP`, `add_arguments(parser)` and `run(arguments)`."""

import argparse
import importlib
import pkgutil

HELP = "time steps, evaluation, extraction and growth with the graph, against others in turn on the same machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A subcommand for each module here whose name does not begin with an underscore."""
    subparsers = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    for module_info in pkgutil.iter_modules(__path__):
        if module_info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        name = module_info.name.replace("_", "-")
        subparser = subparsers.add_parser(name, help=module.HELP, description=module.HELP, allow_abbrev=False)
        module.add_arguments(subparser)
        subparser.set_defaults(run_benchmark=module.run)


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark that was named."""
    arguments.run_benchmark(arguments)
