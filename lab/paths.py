"""Where the lab keeps things on the real machine. One folder holds it all, so that `down --purge` can prove it left nothing."""

import os
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
STATE = Path(os.environ.get("FANATICO_LAB_DIR", "/var/lib/fanatico-lab"))
CACHE = STATE / "cache"
LABS = STATE / "labs"
