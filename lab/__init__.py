"""The lab: the whole topology on one Linux machine, as systemd-nspawn machines on an isolated network."""

import sys
from pathlib import Path

# As Salt has it for what it loads: `import fanatico_plan` is the same module here, in the benchmarks and in the tree.
sys.path.extend(str(Path(__file__).parent.parent / folder) for folder in ("_utils", "_runners/_utils"))
