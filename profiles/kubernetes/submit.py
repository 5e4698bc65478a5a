#!/usr/bin/env python3
"""submit.py TEMPLATE THREADS MEM_MB GPU RUNTIME SCRIPT: create the Job of a job script, and print its name."""

import subprocess
import sys
from pathlib import Path
from string import Template

PULL_SECONDS = 600

template, threads, mem_mb, gpu, runtime, script = sys.argv[1:]
job = Template(Path(template).read_text()).substitute(
    {"THREADS": threads, "MEM_MB": mem_mb, "GPU": gpu, "SECONDS": 60 * int(runtime) + PULL_SECONDS},
    FOLDER=Path.cwd(),
    SCRIPT=script,
)
sys.exit(subprocess.run(["kubectl", "create", "-o", "name", "-f", "-"], input=job, text=True).returncode)
