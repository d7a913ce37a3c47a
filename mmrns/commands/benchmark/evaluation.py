"""`mmrns benchmark evaluation`: what filtered ranking costs beside PyKEEN's evaluator and a query at a time."""

import argparse

from mmrns.commands.benchmark import _compare

HELP = "time filtered ranking against PyKEEN's evaluator, whose ranks must be equal, and against a query at a time"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that all comparisons share."""
    _compare.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Time and print."""
    from mmrns.benchmark.suites import evaluation_comparisons

    _compare.run("evaluation", arguments, evaluation_comparisons)
