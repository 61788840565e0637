"""`python -m zeroshot …` is `footwork zeroshot …`, for `accelerate launch -m zeroshot …`."""

import sys

from footwork.cli import run

if __name__ == "__main__":
    run(["zeroshot", *sys.argv[1:]])
