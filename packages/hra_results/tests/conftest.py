"""The helpers of the workflow's tests, which build finished results."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3] / "tests/scripts"))
