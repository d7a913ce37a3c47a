"""Train a model: `python scripts/train.py --dataset pictokg --model rotate` is `mmrns train` with the same flags."""

import sys

from mmrns.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
