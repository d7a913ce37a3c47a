"""One file a subcommand: `HELP`, `add_arguments(parser)` and `run(arguments)`; the command line finds them itself.

Heavy imports stand inside `run`, so that `mmrns --help` answers at once.
"""
