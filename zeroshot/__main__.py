"""`python -m zeroshot …` is `footwork zeroshot …`, for `accelerate launch -m zeroshot …`."""

import sys

from runtime.cli import main

if __name__ == "__main__":
    sys.exit(main(["zeroshot", *sys.argv[1:]]))
