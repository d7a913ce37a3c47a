"""`python -m mmrns` is the `mmrns` command."""

from mmrns.cli import entry

entry()
