"""`python -m lab`: what ./fanatico runs once its prerequisites stand."""

import sys

from lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
