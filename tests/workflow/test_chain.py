"""The whole workflow with the real scripts, on tiny models: jobs fail, the table reports it, the next call finishes."""

import json
import re
import shutil

import pytest
from yaml import safe_dump

from support import TINY_MODEL, table_rows
from tiny_demo import tiny_demo

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
TINY_MATH = tiny_demo(
    "math",
    {"made": "word-problems", "asked": "word-problems-test"},
    """
datasets:
  math:
    made: {source: {rows: {train: 16}}, benchmarks: {test: asked/test}}
    asked: {source: {rows: {test: 20}}}
    text:
      source: {kind: init, generator: "hra_workflow.demo.text_tasks:sentiment", rows: {test: 40}}
      splits: {test: [test.parquet]}
      columns: {text: sentence}
presets:
  math:
    tiny:
      all: {epochs: 1, learning_rate: 0.01, warmup_steps: 0, batch_size: 8, gradient_accumulation: 2}
      methods: {lora: {learning_rate: 1.0e+30}} # diverges
tasks:
  math:
    grid: [{runs: [base/pretrained, hra/r8, lora/r8], datasets: [made], seeds: [0]}]
    generation: {shards: 3, batch_size: 1, max_new_tokens: {test: 4}}
    general_text: {source: text/test, window: 64, batch_size: 8, resources: {gpu: 0, mem_mb: 1000, runtime: 10}}
    compute: {runs: [hra/r8, lora/r8]}
    columns: [{name: Asked, dataset: made, benchmark: test, metric: strict}]
    figures: {parameters: [Asked], lambda: [Asked]}
""",
)
TABLES = ("results/table_math.csv", "results/table_compute.csv")
AFTER_A_SHARD = {"generate_math", "gather_math", "evaluate_math", "runs", "compare", "table", "table_compute"}


# A training job that fails once, when it has finished: Snakemake deletes its outputs, and the retry trains nothing.
UNNOTED = """
    if not Path("finished.json").exists():
        Path("finished.json").write_text(Path(snakemake.output.record).read_text())
        raise SystemExit("no space left for Snakemake's own files")
"""


@pytest.mark.slow
def test_a_failed_run_is_a_row_and_the_rest_is_kept(fresh, tmp_path):
    project = fresh.copy(tmp_path / "project")
    project.link_library()
    (project.folder / "tiny.yaml").write_text(safe_dump(TINY))
    command = ("--cores", "2", "--configfile", "tiny.yaml")
    table, runs = "results/table_glue.csv", project.folder / "results/runs_glue.csv"

    output = project.snakemake(*command, "--", table, ok=False)
    assert "'no_such_layer' matches no Linear layer" in output
    assert "incomplete=True" in output
    kept = project.folder / "results/glue/made/hra/r8/seed0/validation/metrics.json"
    made = kept.stat().st_mtime

    project.snakemake(*command, "--config", "incomplete=True", "--", table)
    failed = table_rows(runs)[0]
    assert (failed["method"], failed["status"]) == ("lora", "failed")
    assert "matches no Linear layer" in failed["error"]
    lora, hra = (row for row in table_rows(project.folder / table) if row["selection"] == "best_on_dev")
    assert lora["Made"] == "" and "made" in lora["missing"]
    assert float(hra["Made"]) >= 0 and hra["missing"] == ""

    project.change("tiny.yaml", "targets: broken", "targets: paper")
    with (project.folder / "workflow/scripts/train_glue.py").open("a") as script:
        script.write(UNNOTED)
    figures = [f"results/figures/glue_{name}.svg" for name in ("parameters",)]
    project.snakemake(*command, "--retries", "1", "--", table, *figures)
    assert {row["status"] for row in table_rows(runs)} == {"ok"}
    assert kept.stat().st_mtime == made
    run = project.folder / "results/glue/made/lora/r8/seed0"
    first, second = (json.loads(path.read_text()) for path in (project.folder / "finished.json", run / "train.json"))
    assert second["resumed_from"][-1] == second["steps"] and second["weights_sha256"] == first["weights_sha256"]
    assert not list((project.folder / "scratch/glue/made/lora/r8/seed0").glob("checkpoint-*"))
    for figure in figures:
        assert (project.folder / figure).stat().st_size > 1000

    def gpus(changes: str) -> set[str]:
        """Return the GPUs of evaluations, where trainings have one; none if the training computes the scores."""
        (project.folder / "gpu.yaml").write_text("tasks: {glue: {resources: {gpu: 1}}}")
        (project.folder / "other.yaml").write_text(changes)
        files = ("--configfile", "tiny.yaml", "gpu.yaml", "other.yaml")
        output = project.snakemake("-n", "--cores", "1", *files, "--", table)
        return set(re.findall(r"^rule evaluate_glue:.*?gpu=(\d)", output, re.MULTILINE | re.DOTALL))

    assert gpus("presets: {glue: {tiny: {all: {learning_rate: 0.02}}}}") == {"0"}
    assert gpus("tasks: {glue: {grid: [{runs: [hra/r8], datasets: [made], seeds: [0, 1]}]}}") == {"0"}
    assert gpus("datasets: {glue: {made: {metrics: [accuracy, f1]}}}") == {"0"}
    assert gpus("datasets: {glue: {made: {benchmarks: {validation: validation, again: train}}}}") == {"1"}

    # Copied without Snakemake's metadata, to a config with another rate: no old number is shown.
    shutil.rmtree(project.folder / ".snakemake")
    project.change("tiny.yaml", "learning_rate: 0.01", "learning_rate: 0.02")
    assert f"{table} is not shown: Snakemake has no record" in (output := project.snakemake(*command, "--", table))
    before = (project.folder / table).read_text()
    assert "Nothing to be done" in output and "Made" not in output
    for path in (project.folder / "results").glob("*.csv"):
        path.unlink()
    output = project.snakemake(*command, "--", table, ok=False)
    assert "2 result(s) of glue are not those that the config specifies" in output
    assert "learning_rate 0.01, now 0.02; delete results/glue/made/lora/r8/seed0/train.json" in output
    project.snakemake(*command, "--config", "incomplete=True", "--", table)
    assert before != (project.folder / table).read_text() and {row["status"] for row in table_rows(runs)} == {
        "outdated"
    }


@pytest.mark.full  # the chains of subject and control kill a shard as well
def test_of_a_killed_shard_only_that_one_runs_again(fresh, tmp_path):
    project = fresh.copy(tmp_path / "project")
    project.link_library()
    (project.folder / "tiny.yaml").write_text(safe_dump(TINY_MATH))
    write = '    predictions.write(job["output"]["shard"]'
    kill = '    import os; os.kill(os.getpid(), 9 * ("hra/r8/seed0/answers/shard1" in job["log"]))'
    project.change("workflow/scripts/generate_math.py", write, f"{kill}\n{write}")
    command = ("--cores", "2", "--configfile", "tiny.yaml")
    project.snakemake(*command, "--", *TABLES, ok=False)

    project.change("workflow/scripts/generate_math.py", f"{kill}\n", "")
    planned = project.plan(*TABLES, config="tiny.yaml")
    assert {line.split("method=")[1] for line in planned["generate_math"]} == {
        "hra variant=r8 seed=0 shard=1 n_shards=3"
    }
    assert planned.keys() == AFTER_A_SHARD
    project.snakemake(*command, "--", *TABLES)
    table = {row["run"]: row for row in table_rows(project.folder / TABLES[0])}
    lora = table.pop("lora/r8")
    assert (lora["Asked"], lora["Asked_n"]) == ("", "0")
    assert lora["missing"] == "made: seed 0 (diverged: the training loss is nan at step 2)"
    assert all(row["Asked_n"] == "1" and not row["missing"] for row in table.values())
    assert not list(project.folder.glob("results/math/**/shard*.jsonl.gz"))

    found = {(row["method"], row["benchmark"]): row for row in table_rows(project.folder / "results/runs_math.csv")}
    text = "general_text"
    assert {name for method, name in found if method == "hra"} == {"test", text}
    assert found["base", text]["value"] != found["hra", text]["value"]
