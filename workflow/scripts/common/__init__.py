"""Shared code of the scripts; the library `hra` is next to the Snakefile and need not be installed."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:
    sys.path.append(ROOT)
