"""What the rules and scripts of the HRA workflow share: a package of its own, installed with the environment.

What the Snakefile imports works on plain dicts, without torch, pandas and other libraries that take seconds: it also
plans on login nodes. tests/workflow/test_dag.py has a dry run refuse them.
"""

from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])  # the folder of the Snakefile
