"""Make a project of your own: a folder with a config that writes nothing outside of it.

    python workflow/scripts/new_project.py NAME [--demo]

The folder is made in the working directory, which stays the one to run from. --demo: with the demo's small encoder,
for two CPU cores without a GPU; otherwise with the paper's.
"""

import argparse
import re
from pathlib import Path
from string import Template

from hra_workflow import ROOT

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
TAKEN = ("results", "resources", "scratch", "logs", "demo")  # the folders of the grid and of the demo, made or not
CONFIG = Template("""\
# Project $name. What it does not state is the paper's (config/README.md). Other tasks and models: docs/your-own.md
pathvars: {results: $name/results, resources: $name/resources, scratch: $name/scratch, logs: $name/logs}

datasets:
  glue:
    mine: # one text and its class per row: a header line `text,label`, then rows such as `a fine film,positive`
      source: {kind: local, path: $name/data} # also an absolute path
      splits: {train: [train.csv], dev: [dev.csv]} # or .tsv, .json, .jsonl, .parquet
      columns: [text] # or two, for pairs of texts
      label: label
      labels: [negative, positive] # null: the label is a number
      benchmarks: {dev: dev}
      metrics: [accuracy]
      score: accuracy # selects the best step

presets:
  glue:
    mine:
      source: my choice
      all:
        epochs: 10
        learning_rate: 1.0e-3 # of no run, since `tune` chooses it
        head_learning_rate: $head_rate # the same for every method
        warmup_steps: 0.06
        max_length: $length
        eval_steps: 100

tasks:
  glue:
    published: false # nothing of the paper is comparable
    preset: mine
    held_out: {share: 0.2, rows: 2000} # of the training rows, which judge the trials
    tune: # null: no trials; the table then shows differences at the preset's learning rates, and calls none better
      search: {learning_rate: $rates}
      methods: {hra: {learning_rate: $hra_rates}}
      trials: 4 # per method and dataset; the plan says what they cost
      halving: {rungs: [0.25], factor: 2} # the better two of them go on after a quarter of the training
    grid: [{runs: [lora/r8, hra/r8], datasets: [mine], seeds: [0, 1, 2]}]
    columns: [{name: $name, dataset: mine, benchmark: dev, metric: accuracy}]
""")
# As many values for every method, over the same factor (docs/your-own.md#tune).
PAPER = {"rates": "[2.5e-4, 5.0e-4, 1.0e-3, 2.0e-3]", "hra_rates": "[1.0e-3, 2.0e-3, 4.0e-3, 8.0e-3]"}
DEMO = {"rates": "[1.25e-3, 2.5e-3, 5.0e-3, 1.0e-2]", "hra_rates": "[2.5e-3, 5.0e-3, 1.0e-2, 2.0e-2]"}
PAPER |= {"head_rate": "1.0e-3", "length": 256}
DEMO |= {"head_rate": "2.0e-3", "length": 128}
SMALL = """\
    model: minilm-l6 # the demo's encoder
    resources: {gpu: 0, threads: 1, mem_mb: 4000, runtime: 60}
"""


def make(name: str, demo: bool = False) -> Path:
    """Write the folder of a project and return its config; SystemExit if the name cannot be used."""
    folder = Path(name)
    if not re.fullmatch(NAME, name):
        raise SystemExit(
            f"expected a name of letters, digits, _ and -, which starts with a letter or digit, found {name!r}"
        )
    if name in TAKEN or folder.exists():
        raise SystemExit(f"expected the name of a new folder, found {name!r}, which is taken. Choose another one.")
    (folder / "data").mkdir(parents=True)
    (folder / ".gitignore").write_text("/results/\n/resources/\n/scratch/\n/logs/\n")
    path = folder / "config.yaml"
    path.write_text(CONFIG.substitute(DEMO if demo else PAPER, name=name) + SMALL * demo)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the new folder")
    parser.add_argument("--demo", action="store_true", help="with the demo's small encoder instead of the paper's")
    arguments = parser.parse_args()
    path = make(arguments.name, arguments.demo)
    make_command = "make" if str(Path.cwd()) == ROOT else f"make -f {ROOT}/Makefile"
    print(
        f"Made {path}, for texts. Save them as {path.parent}/data/train.csv and dev.csv (columns text and label), or "
        "change `source` and `splits` to where they are; for questions or images, replace the config "
        f"(docs/your-own.md). Then:\n  {make_command} plan CONFIG={path}     what it costs; also run, table, "
        "status, report"
    )


if __name__ == "__main__":
    main()
