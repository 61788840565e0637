"""`python -m search …` is `footwork search …`, for `accelerate launch -m search …`."""

import sys

from footwork.cli import run

if __name__ == "__main__":
    run(["search", *sys.argv[1:]])
