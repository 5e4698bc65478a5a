"""Code that the rules and scripts of the HRA workflow share: a separate package, installed with the environment.

Modules that the Snakefile imports work on plain dicts, without torch, pandas and other libraries that take seconds to
import, because login nodes plan too. tests/workflow/test_dag.py runs a dry run in which those libraries cannot be
imported.
"""

from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])  # the folder of the Snakefile
