"""`python -m textclf …` is `footwork textclf …`, for `accelerate launch -m textclf …`."""

import sys

from runtime.cli import main

if __name__ == "__main__":
    sys.exit(main(["textclf", *sys.argv[1:]]))
