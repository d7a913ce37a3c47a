"""The `mmrns extract` command, for those who look for a script."""

import sys

from mmrns.cli import main

if __name__ == "__main__":
    sys.exit(main(["extract", *sys.argv[1:]]))
