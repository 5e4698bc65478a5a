"""Quantised base models: run tests/hra/quantised.py in a process that has bitsandbytes and torchao.

`make install` installs them outside the environment: PEFT imports them whenever they are installed, for a second.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_quantised_bases():
    seen = [str(Path(sys.prefix) / "quantization"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", Path(__file__).with_name("quantised.py")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(seen)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "skipped" not in done.stdout, done.stdout + done.stderr
