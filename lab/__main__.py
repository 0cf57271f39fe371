"""`python -m lab`: what ./fanatico runs after it has installed the prerequisites."""

import sys

from lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
