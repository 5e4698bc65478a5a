"""Searches of the config and the trials that they name."""

import pytest

from hra_workflow.config import validation
from hra_workflow.core import grid, made_from, records
from hra_workflow.core.errors import JobError
from hra_workflow.snakemake_bridge import identities
from hra_workflow.tasks import tuned_runs
from hra_workflow.tasks.glue.task import Glue
from support import paper_config
from tuned import tuned_config


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"search": {"learning_rte": [1.0]}}, r"search.learning_rte: unknown key .*known keys: .*learning_rate"),
        ({"search": {"learning_rate": [0]}}, "search.learning_rate.0: expected more than 0, found 0"),
        ({"search": {"learning_rate": ["1e-3"]}}, "YAML reads 1e-5 as text"),
        ({"search": {}}, "tune.search: expected at least one hyper-parameter, found {}"),
        ({"trials": 3}, "lora/r8 has 2 combinations of values for trials: 3. Every method gets the same number"),
        ({"methods": {"hra": {"learning_rate": [1e-2]}}}, "hra/r8 has 1 combinations of values for trials: 2"),
        ({"methods": {"base": {"learning_rate": [1.0, 2.0]}}}, "methods: base has no learning rate to tune"),
        ({"methods": {"hraa": {}}}, "tune.methods: unknown method or variant 'hraa'"),
        ({"runs": ["hra"]}, "tune.runs: unknown run of the grid 'hra'; known: .*hra/r8"),
        ({"search": {"batch_size": [32, 33], "gradient_accumulation": [2]}}, "batch_size 33 is not a multiple of"),
        ({"methods": {"hra": {"weight_decay": [0, 0.0]}}}, r"tune.methods.hra.weight_decay: expected every entry once"),
        ({}, "the trials have the seed 1000, and tasks.glue.grid has it too"),
    ],
)
def test_wrong_searches_stop_the_dry_run(tune, message):
    config = tuned_config(**tune)
    config["tasks"]["glue"]["grid"][0]["seeds"] = [0, 999] if tune else [0, 1000]
    with pytest.raises(JobError, match=message):
        validation.check(config)


def test_a_search_needs_held_out_rows():
    validation.check(config := tuned_config())
    del config["tasks"]["glue"]["held_out"]
    with pytest.raises(JobError, match=r"tasks.glue.tune: expected `held_out: \{share: 0.1\}`"):
        validation.check(config)


@pytest.mark.parametrize(
    ("run", "value"), [("hra/r8", 3), ("hra/r8@learning_rate-0.1", 3), ("hra/r4", 2), ("lora/r8", 1)]
)
def test_the_value_of_a_variant_precedes_those_of_its_method_and_of_all(run, value):
    assert grid.value_for_run({"default": 1, "hra": 2, "hra/r8": 3}, run) == value
    assert grid.value_for_run(7, run) == 7 and grid.value_for_run({"oft": 2}, run) is None


def test_a_trial_has_its_values_and_a_final_run_the_chosen_ones(here):
    config = tuned_config()
    preset = grid.hyperparameters(paper_config(), "glue", "cola", "hra/r8")
    trial = grid.hyperparameters(config, "glue", "cola", "hra/r8@learning_rate-0.002")
    share = config["tasks"]["glue"]["held_out"]
    assert trial == preset | {"learning_rate": 2e-3, "held_out": share}
    assert grid.hyperparameters(config, "glue", "cola", "hra/r8") == preset
    records.write("results/tune/glue/cola/hra/r8.json", {"values": {"learning_rate": 7.0}})
    assert grid.hyperparameters(config, "glue", "cola", "hra/r8") == preset | {"learning_rate": 7.0}
    assert grid.hyperparameters(config, "glue", "cola", "lora/r8")["learning_rate"] != 7.0


def test_a_tuned_run_is_made_from_what_its_trials_chose_and_a_trial_from_its_own_values(here):
    task = Glue(tuned_config(search={"learning_rate": [1e-3, 2e-3], "eval_batch_size": [8]}))
    run = {"task": "glue", "dataset": "cola", "method": "hra", "variant": "r8", "seed": "0"}
    choice = grid.choice_file(task.config, "glue", "cola", "hra/r8")
    records.write(choice, {"values": {"learning_rate": 2e-3, "eval_batch_size": 8}})
    every = identities.Identities()
    every.params(
        "train_glue",
        planned={"hyperparameters": lambda wc: tuned_runs.hyperparameters_without_choice(task, wc)},
        chosen=lambda wc: tuned_runs.choice(task, wc),
        hyperparameters=lambda wc: task.relevant_hyperparameters("cola", grid.run_name(wc)),
    )

    def trained(variant: str) -> dict:
        """Return what a run that is trained now is made from."""
        values = task.relevant_hyperparameters("cola", f"hra/{variant}")
        names = made_from.result(run | {"variant": variant})
        return {"result": names, "settings": {"hyperparameters": values}, "before": {}, "inputs": {}}

    def expected(variant: str) -> dict:
        return every.expected("train_glue", run | {"variant": variant})

    found = trained("r8")
    assert "learning_rate" not in expected("r8")["settings"]["hyperparameters"]  # what follows is planned before it
    assert made_from.list_differences(found, expected("r8")) == []
    records.write(choice, {"values": {"learning_rate": 1e-3, "eval_batch_size": 8}})
    assert made_from.list_differences(found, expected("r8")) == ["learning_rate 0.002, now 0.001"]
    first, second = (one["trial"] for one in tuned_runs.trials(task, "cola", "hra/r8"))
    for one in (first, second):
        assert made_from.list_differences(trained(one), expected(one)) == []
    assert made_from.list_differences(trained(first), expected(second))[-1] == "learning_rate 0.001, now 0.002"
