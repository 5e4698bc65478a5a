"""Figures in sentences of docs/ are those of the config and of the published numbers; test_pages.py has the tables."""

import re

import pandas as pd
import yaml

from hra_workflow.core import grid
from support import ROOT, merged, paper_config

CONFIG = paper_config()
TASKS, SUBJECTS = CONFIG["tasks"], grid.datasets(CONFIG, "subject")
PROMPTS = 25  # of the official lists
NUMBERS = ("none", "one", "two", "three", "four", "five")
OF_VARIANT, OF_DEFAULTS = ("penalty", "train_head"), ("shuffle", "precision", "base_precision")


def page(name: str) -> str:
    """Return a page without line breaks."""
    return " ".join((ROOT / name).read_text().split())


def minutes(task: str) -> str:
    return f"{TASKS[task]['resources']['save_seconds'] / 60:.0f}"


def seeds(task: str) -> str:
    return NUMBERS[max(len(block["seeds"]) for block in TASKS[task]["grid"])]


def published(task: str, column: str) -> str:
    """Return the range of the published scores over λ."""
    scores = pd.read_csv(ROOT / f"config/published/{task}_lambda.csv").query(f"column == '{column}'")["value"]
    return f"between {scores.min():.2f} and {scores.max():.2f}"


def phrases() -> dict[str, list[str]]:
    """Return what the pages say, with the numbers computed."""
    assert minutes("glue") == minutes("subject") == minutes("control")
    return {
        "docs/running.md": [
            f"a checkpoint every {minutes('glue')} minutes (mathematics: {minutes('math')}, `save_seconds`)"
        ],
        "docs/questions.md": [
            f"MRPC is {published('glue', 'MRPC')} (Figure 3, r = 8)",
            f"GSM8K {published('math', 'GSM8K')} (Figure 4, r = 8)",
            f"one, seed {TASKS['math']['retention']['seeds'][0]}. Table 6",
        ],
        "docs/from-the-official-code.md": [
            f"{len(SUBJECTS) * PROMPTS} training runs, prompt lists",
            f"rule `train_subject`, {len(SUBJECTS)} runs per variant",
            f"GLUE: {seeds('glue')}, mathematics: {seeds('math')}, with mean ± std; "
            f"subjects, control: {seeds('subject')} |",
        ],
    }


def test_the_pages_have_the_figures():
    wrong = {name: [text for text in texts if text not in page(name)] for name, texts in phrases().items()}
    assert not {name: texts for name, texts in wrong.items() if texts}


def test_a_key_that_restores_the_official_behaviour_is_one():
    """The last column of docs/from-the-official-code.md is the config's."""
    rows = [line.strip("|").split("|") for line in (ROOT / "docs/from-the-official-code.md").read_text().splitlines()]
    named = {code: row[0].strip() for row in rows if len(row) == 4 for code in re.findall(r"`([^`]*: [^`]*)`", row[3])}
    del named["targets: all_linear"]  # of a new variant
    changes = []
    for code, row in named.items():
        key, _, value = code.partition(": ")
        task = {"LLaMA": "math", "subjects": "subject", "control": "control"}.get(row.partition(":")[0], "glue")
        key = f"methods.hra.variants.r8.{key}" if key in OF_VARIANT else key
        key = f"defaults.{key}" if key in OF_DEFAULTS else f"generation.{key}" if key == "prompt_suffix" else key
        key = key if key.startswith(("tasks.", "methods.")) else f"tasks.{task}.{key}"
        changed = yaml.safe_load(value)
        for part in reversed(key.split(".")):
            changed = {part: changed}
        changes.append(changed)
    assert len(changes) >= 9
    merged(*changes)


def test_the_official_preset_gives_full_fine_tuning_no_learning_rate_of_hra():
    (preset,) = re.findall(r"`tasks.glue.preset: (\{.*?\})`", page("docs/from-the-official-code.md"))
    config, _ = merged({"tasks": {"glue": {"preset": yaml.safe_load(preset)}}})
    used = {run: grid.preset(config, "glue", run) for run in grid.run_names(config, "glue")}
    assert used["hra/r8"] == "table5-lambda0" and used["hra/r8-lambda1e-6"] == "table5-lambda1e-6"
    assert used["full/all"] == "full" and used["lora/r8"] == "adalora-scripts"
