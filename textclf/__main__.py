"""`python -m textclf …` is `footwork textclf …`, for `accelerate launch -m textclf …`."""

import sys

from footwork.cli import run

if __name__ == "__main__":
    run(["textclf", *sys.argv[1:]])
