"""The `mmrns evaluate` command, for those who look for a script."""

import sys

from mmrns.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
