"""The table of PEFT's benchmark: its 63 rows next to ours, what trainings took, and losses minus the base model's."""

import pandas
import pytest

import table
from hra_workflow import tasks
from hra_workflow.core import grid
from hra_workflow.report import run_statistics, table_notes
from hra_workflow.report.run_columns import columns
from hra_workflow.tasks import load, outputs, tuned_runs
from support import ROOT, SHARED, with_files

STUDY = ROOT / "studies/peft_metamathqa"
FILE, RESULTS = STUDY / "config.yaml", STUDY / "results/peft_metamathqa.csv"
REFERENCE = SHARED / "reference/peft_benchmark_metamathqa.csv"
DATASET = "metamathqa-peft"


@pytest.fixture
def task():
    return load(with_files(FILE))["math"]


@pytest.fixture(scope="module")
def published() -> pandas.DataFrame:
    return run_statistics.read_csv(RESULTS)


def run_table(accuracies: dict[str, list[float]]) -> pandas.DataFrame:
    """Build the run table of runs with these accuracies, one per seed; each takes ten minutes and 20 GB."""
    rows = []
    for run, values in accuracies.items():
        method, variant = run.split("/")
        trained = method != "base"
        for seed, value in enumerate(values):
            about = {"task": "math", "dataset": DATASET, "method": method, "variant": variant, "seed": seed}
            about |= {"status": "ok", "selection": "last", "trainable_parameters": 100 * trained, "seconds": 600}
            about |= {"peak_memory_bytes": 20_000_000_000, "adapter_parameters": 100 * trained, "versions": "torch=2"}
            scores = [("gsm8k", "studies.peft_metamathqa.grader:PEFT", value), ("gsm8k", "strict", value - 0.01)]
            rows += [
                about | {"benchmark": on, "metric": name, "value": one, "backend": "transformers"}
                for on, name, one in scores
            ]
    found = pandas.DataFrame(rows).reindex(columns=list(columns()), fill_value="")
    return found.assign(run=found["method"] + "/" + found["variant"])


def params(task) -> dict:
    return {
        "task": "math",
        "columns": grid.columns(task.config, "math"),
        "averages": {},
        "selections": ["last"],
        "rows": grid.table_rows(task.config, "math"),
        "seeds_expected": grid.seeds_expected(task.config, "math"),
        "trained": [],
        "verdicts": {"columns": [], "reference": None, "baselines": []},
        "searches": tuned_runs.searches(task),
        "published": outputs.published(task),
        "data": [],
        "benchmarks": [],
        "settings": {},
    }


def made(task, published, accuracies) -> tuple[pandas.DataFrame, str]:
    given, runs = params(task), run_table(accuracies)
    built = table.build(runs, published, given)
    built = built.assign(
        **{f"{column['name']}_{part}": "" for column in given["columns"] for part in ("best", "verdict")}
    )
    pairs = pandas.DataFrame(columns=["column", "selection", "run_a", "run_b", "p_holm"])
    kind = tasks.classes()["math"]
    return built, "\n".join(table_notes.lines(table_notes.Made(built, runs, published, pairs, given, kind)))


def test_hra_is_first_then_all_by_accuracy_and_what_we_run_beside_it(task, published):
    built, _ = made(task, published, {"base/pretrained": [0.2], "lora/r32": [0.48]})
    runs = built["run"].tolist()
    assert runs[:5] == ["hra/r32", "hra/r64", "hra/r32-tuned", "hra/r64-tuned", "base/pretrained"]
    assert len(built) == 5 + 63 and {run for run in runs[5:] if run} == {"lora/r32", "oft/r32", "dora/r32"}
    assert pandas.to_numeric(built["GSM8K_published"][5:]).is_monotonic_decreasing
    text = table.markdown_table(built, params(task))
    assert "ours" in text and "PEFT" in text and "paper" not in text and "48.00 (1/3)" in text and "+0.16" in text
    assert text.count("\n") < 80


def test_columns_of_the_training(task, published):
    built, _ = made(task, published, {"base/pretrained": [0.2], "lora/r32": [0.48, 0.47, 0.49]})
    rows = built.set_index("run")
    base, lora = rows.loc["base/pretrained"], rows.loc["lora/r32"]
    assert (lora["Time (min)"], lora["Memory (GB)"]) == ("10.0", "20.0") and base["Time (min)"] == ""
    assert (lora["GSM8K"], lora["GSM8K_published"], lora["GSM8K (strict)_published"]) == ("48.00", "47.84", "")


def test_a_difference_beyond_the_noise_is_noted(task, published):
    for accuracy, difference in (0.50, "+2.16"), (0.46, "−1.84"):
        _, notes = made(task, published, {"lora/r32": [accuracy]})
        assert f"these differ from its values by more than its noise of ± 1: LoRA, r=32 {difference}." in notes
    assert "Answers by transformers: lora/r32." in notes
    assert "ours − PEFT" in notes and "The paper copied" not in notes
    assert "noise of ±" not in made(task, published, {"lora/r32": [0.48], "hra/r32": [0.5]})[1]


@pytest.mark.skipif(not REFERENCE.exists(), reason=f"{REFERENCE} is not on this machine")
def test_the_published_rows_are_all_results_by_accuracy():
    ours = run_statistics.read_csv(RESULTS)
    assert ours.columns.tolist() == run_statistics.PUBLISHED
    theirs = pandas.read_csv(REFERENCE)
    assert len(theirs) == 63 and ours["row"].astype(int).tolist() == [n for n in range(1, 64) for _ in range(3)]
    names = theirs["experiment"].str.replace("llama-3.2-3B-", "")
    assert (names.str.split("/").str[1] == ours["setting"].iloc[::3].to_numpy()).all()
    cells = ours.assign(value=ours["value"].astype(float)).pivot(index="row", columns="column", values="value")
    cells = cells.loc[[str(n) for n in range(1, 64)]].reset_index(drop=True)
    assert cells["GSM8K"].is_monotonic_decreasing
    for column, values, digits in [
        ("GSM8K", 100 * theirs["test_accuracy"], 2),
        ("Time", theirs["train_s"] / 60, 1),
        ("Memory", theirs["memory_max_bytes"] / 1e9, 1),
    ]:
        assert (cells[column] - values).abs().max() <= 0.5001 * 10**-digits, column
