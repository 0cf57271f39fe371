"""The lab: the whole topology on one Linux machine, as systemd-nspawn machines on an isolated network."""

import sys
from pathlib import Path

# Salt puts these folders on the path of what it loads; so `import fanatico_plan` means the same module here.
sys.path.extend(str(Path(__file__).parent.parent / folder) for folder in ("_utils", "_runners/_utils"))
