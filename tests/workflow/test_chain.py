"""GLUE with the real rules and scripts, on tiny models: jobs fail, the table reports it, the next call finishes."""

import json
import re
import shutil

import pytest

from support import TINY_MODEL, table_rows
from tiny_demo import real_project, tiny_demo

TINY = tiny_demo(
    "glue",
    {"made": "sentiment"},
    """
models: {tiny: {head: [classifier], targets: {paper: [query, output.dense], broken: [no_such_layer]}}}
datasets: {glue: {made: {source: {rows: {train: 48, validation: 32}}}}}
methods: {lora: {variants: {r8: {targets: broken}}}}
presets: {glue: {tiny: {all: {learning_rate: 0.01, warmup_steps: 0, max_length: 32, eval_steps: 2}}}}
tasks:
  glue:
    model: tiny
    grid: [{runs: [lora/r8, hra/r8], datasets: [made], seeds: [0]}]
    columns: [{name: Made, dataset: made, benchmark: validation, metric: accuracy}]
    averages: [{name: All, columns: [Made]}]
    figures: {parameters: [All], lambda: [Made]}
""",
)
TINY["models"]["tiny"]["source"] = TINY_MODEL
TINY_MATH = tiny_demo(  # for tests that end its jobs early
    "math",
    {"made": "word-problems", "asked": "word-problems-test"},
    """
datasets:
  math:
    made: {source: {rows: {train: 16}}, benchmarks: {test: asked/test}}
    asked: {source: {rows: {test: 20}}}
presets:
  math:
    tiny:
      all: {epochs: 1, learning_rate: 0.01, warmup_steps: 0, batch_size: 8, gradient_accumulation: 2}
tasks:
  math:
    grid: [{runs: [hra/r8], datasets: [made], seeds: [0]}]
    generation: {shards: 3, batch_size: 1, max_new_tokens: {test: 4}}
    compute: {runs: [hra/r8]}
    columns: [{name: Asked, dataset: made, benchmark: test, metric: strict}]
    figures: {parameters: [Asked], lambda: [Asked]}
""",
)
# A training job that fails once, when it has finished: Snakemake deletes its outputs, and the retry trains nothing.
UNNOTED = """
    if not Path("finished.json").exists():
        Path("finished.json").write_text(Path(snakemake.output.record).read_text())
        raise SystemExit("no space left for Snakemake's own files")
"""


@pytest.mark.slow
def test_a_failed_run_is_a_row_and_the_rest_is_kept(fresh, tmp_path):
    project = real_project(fresh, tmp_path / "project", TINY)
    command = ("--cores", "2", "--configfile", "tiny.yaml")
    table, runs = "results/table_glue.csv", project.folder / "results/runs_glue.csv"

    output = project.snakemake(*command, "--", table, ok=False)
    assert "'no_such_layer' matches no Linear layer" in output
    assert "incomplete=True" in output
    kept = project.folder / "results/glue/made/hra/r8/seed0/validation/metrics.json"
    made = kept.stat().st_mtime

    project.snakemake(*command, "--config", "incomplete=True", "--", table)
    failed = table_rows(runs)[0]
    assert (failed["method"], failed["status"]) == ("lora", "failed") and "no Linear layer" in failed["error"]
    lora, hra = (row for row in table_rows(project.folder / table) if row["selection"] == "best_on_dev")
    assert lora["Made"] == "" and "made" in lora["missing"]
    assert float(hra["Made"]) >= 0 and hra["missing"] == ""

    project.change("tiny.yaml", "targets: broken", "targets: paper")
    with (project.folder / "workflow/scripts/train_glue.py").open("a") as script:
        script.write(UNNOTED)
    figure = "results/figures/glue_parameters.svg"
    project.snakemake(*command, "--retries", "1", "--", table, figure)
    assert {row["status"] for row in table_rows(runs)} == {"ok"}
    assert kept.stat().st_mtime == made
    run = project.folder / "results/glue/made/lora/r8/seed0"
    first, second = (json.loads(path.read_text()) for path in (project.folder / "finished.json", run / "train.json"))
    assert second["resumed_from"][-1] == second["steps"] and second["weights_sha256"] == first["weights_sha256"]
    assert not list((project.folder / "scratch/glue/made/lora/r8/seed0").glob("checkpoint-*"))
    assert (project.folder / figure).stat().st_size > 1000

    def gpus(changes: str) -> set[str]:
        """Return the GPUs of evaluations, where training runs have one; none if the training computes the scores."""
        (project.folder / "gpu.yaml").write_text("tasks: {glue: {resources: {gpu: 1}}}")
        (project.folder / "other.yaml").write_text(changes)
        files = ("--configfile", "tiny.yaml", "gpu.yaml", "other.yaml")
        output = project.snakemake("-n", "--cores", "1", *files, "--", table)
        return set(re.findall(r"^rule evaluate_glue:.*?gpu=(\d)", output, re.MULTILINE | re.DOTALL))

    assert gpus("presets: {glue: {tiny: {all: {learning_rate: 0.02}}}}") == {"0"}
    assert gpus("datasets: {glue: {made: {benchmarks: {validation: validation, again: train}}}}") == {"1"}

    # Copied without Snakemake's metadata, to a config with another rate: no old number is shown.
    shutil.rmtree(project.folder / ".snakemake")
    project.change("tiny.yaml", "learning_rate: 0.01", "learning_rate: 0.02")
    output = project.snakemake(*command, "--", table)
    assert f"{table} is not shown: Snakemake has no record" in output
    assert "Nothing to be done" in output and "Made" not in output
