"""`mmrns benchmark step`: what a training step costs beside a naive transcription, uniform sampling and PyKEEN."""

import argparse

from mmrns.commands.benchmark import _compare

HELP = "time a training step: MMRNS against its naive transcription and uniform sampling, uniform against PyKEEN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that all comparisons share."""
    _compare.add_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Time and print."""
    from mmrns.benchmark.suites import step_comparisons

    _compare.run("step", arguments, step_comparisons)
