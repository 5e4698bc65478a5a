"""Differences of the trained runs to the reference: sentences, cells, bold values, and where a person sees them."""

import copy
import math

import pandas as pd
import pytest

import compare
import factories
import table
from hra_workflow import tasks
from hra_workflow.commands import print_table
from hra_workflow.config import validation
from hra_workflow.core import files, grid
from hra_workflow.core.errors import JobError
from hra_workflow.report import comparison, run_statistics, searches, verdicts
from hra_workflow.report.column_units import Unit
from hra_workflow.report.verdicts import Verdict
from hra_workflow.tasks import outputs, tuned_runs
from support import paper_config

LABELS = {"lora/r8": "LoRA", "hra/r8": "HRA", "base/pretrained": "The pretrained model"}
PERCENT, ERROR = Unit(100, lower=False), Unit(1, lower=True)
RUNS = ("hra/r8", "lora/r8", "full/all")


def of(value: float, *rest, **more) -> Verdict:
    return Verdict("lora/r8", "hra/r8", (80 + value, 80), value, *rest, **more)


@pytest.mark.parametrize(
    ("verdict", "unit", "sentence"),
    [
        (of(4, (0.2, 7.8), 0.12, 3, 400), PERCENT,
         "LoRA: 84.00; HRA: 80.00 (+4.00 [0.20, 7.80], p = 0.120, not significant)"),
        (of(0.2, (-0.3, 0.7), 0.43, 5, 900, 0.004), PERCENT,
         "LoRA: 80.20; HRA: 80.00 (+0.20 [−0.30, 0.70], p = 0.430, not significant, equivalent within 1 point: "
         "p = 0.004)"),
        (of(-4, (-7.8, -0.2), 1e-5, 5, 400), PERCENT,
         "LoRA: 76.00; HRA: 80.00 (−4.00 [−7.80, −0.20], p < 0.001, significant)"),
        (of(-0.25, (-0.4, -0.1), 0.004, 3, 400), ERROR,
         "LoRA: 79.750; HRA: 80.000 (−0.250 [−0.400, −0.100], p = 0.004, significant, lower is better)"),
        (of(2, (1, 3), math.nan, 1, 400), PERCENT, "LoRA: 82.00; HRA: 80.00 (1 common seed)"),
        (of(2, (1, 3), math.nan, 1, 400, single=True), PERCENT, "LoRA: 82.00; HRA: 80.00 (one run each)"),
        (of(2, (1, 3), 0.01, 3, 12), PERCENT,
         "LoRA: 82.00; HRA: 80.00 (+2.00 [1.00, 3.00], p = 0.010, significant, only 12 items)"),
        (of(-3.2), ERROR, "LoRA: 76.800; HRA: 80.000 (not tested, lower is better)"),  # FID: of all images together
        (of(2, (1, 3), math.nan, 2, 400, unequal="unequal searches"), PERCENT,
         "LoRA: 82.00; HRA: 80.00 (2 common seeds, unequal searches)"),
    ],
)  # fmt: skip
def test_a_verdict_is_one_short_sentence(verdict, unit, sentence):
    assert verdict.sentence(LABELS, unit) == sentence


MINE = {"learning_rate": 5e-3, "epochs": 10}


@pytest.mark.parametrize(
    ("hra", "lora", "words", "details"),
    [
        (factories.searched(4, **MINE), factories.searched(4, **MINE), "",  # each has the best of four rates
         "Learning rates: LoRA 0.005 (4 trials); HRA 0.005 (4 trials)"),
        (factories.searched(0, **MINE), None, "", "Learning rates: HRA 0.005"),  # the base model needs no search
        (factories.searched(0, **MINE), factories.searched(0, learning_rate=1e-3, max_steps=9), "rates not tuned",
         "Learning rates: LoRA 0.001; HRA 0.005. Also different: epochs, max_steps"),
        (factories.searched(0, **MINE), factories.searched(0, **MINE), "rates not tuned",  # equal is not tuned
         "Learning rates: LoRA 0.005; HRA 0.005"),
        (factories.searched(4), factories.searched(0, **MINE), "unequal searches",
         "Learning rates: LoRA 0.005; HRA tuned (4 trials). Also different: epochs"),
        (factories.searched(4, epochs=10), factories.searched(4, epochs=20), "unequal settings",  # trained longer
         "Learning rates: LoRA tuned (4 trials); HRA tuned (4 trials). Also different: epochs"),
    ],
)  # fmt: skip
def test_a_difference_without_equal_searches_is_no_ranking(hra, lora, words, details):
    runs = {"hra/r8": hra} | ({"lora/r8": lora} if lora else {})
    found = searches.Searches({"mine": runs}, {"Mine": ["mine"]})
    assert found.between("hra/r8", "lora/r8", "Mine") == words
    assert found.unequal(LABELS, ["Mine"]) == ["Mine"] * bool(words)
    assert found.describe(LABELS) == details
    one = Verdict("hra/r8", "lora/r8", (97, 80), 17.59, (7.96, 27.22), 0.004, 3, 500, unequal=words)
    text = one.sentence(LABELS, PERCENT)
    assert text.startswith("HRA: 97.00; LoRA: 80.00 (") and ("significant" in text) == (not words)
    assert text.endswith(f"{words or 'significant'})") and ("p = " in one.cell(PERCENT)) == (not words)


@pytest.mark.parametrize(
    ("task", "pair", "column", "words"),
    [
        ("glue", ("hra/r8", "lora/r8"), "All (acc)", "rates not tuned"),
        ("math", ("hra/r32", "base/pretrained"), "GSM8K (strict)", ""),
    ],
)
def test_the_paper_s_runs_have_no_equal_searches(task, pair, column, words):
    config = paper_config()
    own = {"columns": grid.columns(config, task), "averages": grid.averages(config, task)}
    own["searches"] = tuned_runs.searches(tasks.load(config)[task])
    assert searches.table_searches(own).between(*pair, column) == words


def test_the_reference_is_the_best_baseline_unless_the_config_names_one():
    means, chosen = {"lora/r8": 3.0, "full/all": 2.0, "hra/r8": 9.0}, {"baselines": ["lora/r8", "full/all"]}
    assert verdicts.reference(means, chosen | {"reference": None}, PERCENT) == "lora/r8"
    assert verdicts.reference(means, chosen | {"reference": None}, ERROR) == "full/all"
    assert verdicts.reference(means, chosen | {"reference": "hra/r8"}, PERCENT) == "hra/r8"
    assert verdicts.reference({"hra/r8": 9.0}, chosen | {"reference": None}, PERCENT) is None
    config = paper_config()
    task = tasks.load(config)["glue"]
    assert {"full/all", "lora/r8"} < set(outputs.verdicts(task)["baselines"])
    assert not any(run.startswith("hra/") for run in outputs.verdicts(task)["baselines"])
    config["tasks"]["control"]["grid"] = [{"runs": ["base/pretrained", "hra/r8"], "datasets": ["coco"], "seeds": [0]}]
    assert outputs.verdicts(tasks.load(config)["control"])["baselines"] == ["base/pretrained"]
    changed = copy.deepcopy(config)
    changed["tasks"]["glue"]["reference"] = "lora/r4"
    with pytest.raises(JobError, match=r"tasks\.glue\.reference: unknown run of the grid 'lora/r4'; known: full"):
        validation.check(changed)


def pair(first: str, second: str, *numbers, selection: str = "best_on_dev") -> list:
    return ["CoLA", selection, first, second, *map(str, numbers)]


@pytest.fixture
def made(tmp_path):
    """Return a function that makes the table of three runs with these pairs and levels of their scores."""

    def make(pairs: list[list], levels: dict[str, float], untrained=(), **params) -> tuple[pd.DataFrame, str]:
        expected = [factories.entry(tmp_path, "cola", run, seed) for run in RUNS for seed in range(3)]
        rows = [
            {"dataset": "cola", "method": run.split("/")[0], "variant": run.split("/")[1], "seed": seed, "value": value}
            | {"benchmark": "dev", "selection": selection, "metric": "matthews_correlation", "status": "ok"}
            for run, value in levels.items()
            for seed in range(3)
            for selection in ("best_on_dev", "last")
        ]
        names = ("preset", "model", "error", "backend", "serve", "dirty", "versions")
        runs = pd.DataFrame(rows).assign(adapter_parameters=1000, **dict.fromkeys(names, ""))
        files.write_text(tmp_path / "runs_glue.csv", runs.assign(versions="torch=2.9.0").to_csv(index=False))
        compared = pd.DataFrame(pairs, columns=compare.COLUMNS[: -len(comparison.NOISE)])
        files.write_text(tmp_path / "compare_glue.csv", compared.to_csv(index=False))
        job = factories.table_job(tmp_path, expected)
        job["params"] |= {"averages": {}}
        job["params"]["searches"] = params.pop("searches", job["params"]["searches"])
        job["params"]["verdicts"] |= params
        job["params"]["trained"] = [run for run in job["params"]["trained"] if run not in untrained]
        table.main(job)
        return run_statistics.read_csv(tmp_path / "table_glue.csv"), (tmp_path / "table_glue.md").read_text()

    return make


PAIRS = [
    pair("hra/r8", "lora/r8", -1, -2, 0.5, 0.2, 0.4, 0.6, 1043, 3),
    pair("hra/r8", "full/all", 5, 3, 7, 0.001, 0.003, 1, 1043, 3),
    pair("lora/r8", "full/all", 6, 4, 8, 0.001, 0.003, 1, 1043, 3),
]
LEVELS = {"hra/r8": 0.9, "lora/r8": 0.91, "full/all": 0.85}
SENTENCES = [
    "HRA r=8, λ=0: 90.00; LoRA r=8: 91.00 (−1.00 [−2.00, 0.50], p = 0.400, not significant)",
    "Full fine-tuning: 85.00; LoRA r=8: 91.00 (−6.00 [−8.00, −4.00], p = 0.003, significant)",
]


def test_table_markdown_and_terminal_show_the_verdicts(made, tmp_path, capsys):
    rows, text = made([*PAIRS, *([*one[:1], "last", *one[2:8], "0.5", *one[9:]] for one in PAIRS)], LEVELS)
    first = rows[rows["selection"] == "best_on_dev"].set_index("run")
    assert [first["CoLA_verdict"][run] for run in RUNS] == [SENTENCES[0], "", SENTENCES[1]]
    assert [first["CoLA_best"][run] for run in RUNS] == ["true", "true", ""] and set(first["CoLA_better"]) == {"higher"}
    head, last = text.split("## Last step")
    assert "## Verdict: best on dev\n\nCoLA:\n\n" + "".join(f"- {one}.\n" for one in SENTENCES) in head
    assert "| CoLA ↑ |" in " ".join(head.split()) and "ours" not in text
    cells = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in last.splitlines() if "|" in line}
    assert cells["HRA r=8, λ=0"] == "−1.00 [−2.00, 0.50], p = 0.500" and cells["LoRA r=8"] == "reference"
    assert "Differences: run − reference, which is the best trained run of the column whose method is not HRA" in text
    print_table.show(tmp_path / "table_glue.csv", 200)
    shown = capsys.readouterr().out
    assert all(f"  {one}." in shown for one in SENTENCES) and "CoLA ↑" in shown


def test_without_equal_searches_table_and_terminal_call_nothing_better(made, tmp_path, capsys):
    rates = {"hra/r8": 5e-3, "lora/r8": 1e-3, "full/all": 1e-3}
    own = {"cola": {run: factories.searched(0, learning_rate=rate) for run, rate in rates.items()}}
    rows, text = made(PAIRS, LEVELS, searches=own)
    print_table.show(tmp_path / "table_glue.csv", 400)
    words = "HRA r=8, λ=0: 90.00; LoRA r=8: 91.00 (rates not tuned)."
    assert words in text and words in capsys.readouterr().out and set(rows["CoLA_best"]) == {""}
    assert "Differences to the reference: best on dev" in text and "−1.00 [−2.00, 0.50] |" in text
    assert "significant" not in text.split("## Notes")[0] and "p = " not in text.split("## Notes")[0]
    notes = text.split("## Notes")[1]
    assert "**No ranking of methods**: no equal search chose the hyper-parameters of these runs" in notes
    assert "Learning rates: HRA r=8, λ=0 0.005; LoRA r=8 0.001; Full fine-tuning 0.001." in notes and "**9" not in text


def test_the_reference_of_the_config_may_be_any_row(made):
    rows, text = made(PAIRS, LEVELS, reference="hra/r8")
    first = rows[rows["selection"] == "best_on_dev"].set_index("run")
    assert first["CoLA_verdict"]["lora/r8"].startswith("LoRA r=8: 91.00; HRA r=8, λ=0: 90.00 (+1.00 [−0.50, 2.00], p")
    assert "which is HRA r=8, λ=0." in text


def test_the_base_model_is_the_reference_of_runs_without_a_baseline(made):
    rows, _ = made([], {"hra/r8": 0.9, "full/all": 0.85}, untrained=["full/all"], baselines=["full/all"])
    assert set(rows["CoLA_verdict"]) == {"HRA r=8, λ=0: 90.00; Full fine-tuning: 85.00 (not tested)", ""}
