"""The `mmrns check` command, for those who look for a script."""

import sys

from mmrns.cli import main

if __name__ == "__main__":
    sys.exit(main(["check", *sys.argv[1:]]))
