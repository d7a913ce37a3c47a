"""The `mmrns` command: finds the subcommands, and turns bad input into one line and exit status 2."""

import argparse
import importlib
import pkgutil
import sys
from typing import NoReturn

import mmrns.commands
from mmrns.errors import UserError, mend_of, shortened


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message and where to read on; exit with status 2."""
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def build_parser() -> argparse.ArgumentParser:
    """The parser of every subcommand in mmrns/commands."""
    parser = OneLineParser(
        "mmrns", description="Multimodal knowledge graph completion with relation-enhanced negatives."
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=OneLineParser)
    for module_info in pkgutil.iter_modules(mmrns.commands.__path__):
        command = importlib.import_module(f"mmrns.commands.{module_info.name}")
        name = module_info.name.rstrip("_").replace("_", "-")
        # Full flags only: a prefix that is unique today may not be tomorrow.
        subparser = subparsers.add_parser(name, help=command.HELP, description=command.HELP, allow_abbrev=False)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except UserError as error:
        print(f"mmrns {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nmmrns {arguments.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, e.g. `mmrns list models | head -1`
        sys.stderr.close()
        return 0
    except OSError as error:
        mend = mend_of(error)
        if mend is None:
            raise
        where = shortened(str(error.filename or "the output"), 200)
        print(f"mmrns {arguments.command}: {where}: {error.strerror}; {mend}", file=sys.stderr)
        return 2
    return 0


def entry() -> None:
    """The console script."""
    sys.exit(main())
