"""Paths of the lab on the real machine. All files are in one folder, so `down --purge` can remove everything."""

import os
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
STATE = Path(os.environ.get("FANATICO_LAB_DIR", "/var/lib/fanatico-lab"))
CACHE = STATE / "cache"
LABS = STATE / "labs"
