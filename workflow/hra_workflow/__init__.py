"""What the rules and scripts of the HRA workflow share: a package of its own, installed with the environment."""

from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])  # the folder of the Snakefile
