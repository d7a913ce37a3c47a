"""The `mmrns` command: finds the subcommands, and turns bad input into one line and exit status 2."""

import argparse
import difflib
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import mmrns.commands
from mmrns.errors import UserError, mend_of, shortened

# How like a flag must be to be suggested; two dashes alike count too.
_NEAR = 0.7


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message and where to read on; exit with status 2."""
        end = "" if message.endswith("?") else ";"
        print(f"{self.prog}: {message}{end} see {self.prog} --help", file=sys.stderr)
        sys.exit(2)

    def parse_known_args(  # type: ignore[override]  # argparse has overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As argparse's, but what it does not know ends here: the parser of the subcommand knows the right flags."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown(unknown))
        return found, unknown

    def _unknown(self, arguments: list[str]) -> str:
        """What is wrong with arguments that nothing took; what follows an unknown flag is its value."""
        flag = next((given.partition("=")[0] for given in arguments if given.startswith("-")), None)
        if flag is None:
            return f"unrecognized arguments: {' '.join(arguments)}"
        near = difflib.get_close_matches(flag, self._option_string_actions, n=1, cutoff=_NEAR)
        return f"{flag}: unknown" + (f"; did you mean {near[0]}?" if near else "")


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
