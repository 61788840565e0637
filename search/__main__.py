"""`python -m search …` is `footwork search …`, for `accelerate launch -m search …`."""

import sys

from runtime.cli import main

if __name__ == "__main__":
    sys.exit(main(["search", *sys.argv[1:]]))
