"""`python -m search …` is `footwork search …`, for `accelerate launch -m search …`."""

import sys

from runtime.cli import run

if __name__ == "__main__":
    run(["search", *sys.argv[1:]])
