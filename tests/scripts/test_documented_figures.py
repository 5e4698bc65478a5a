"""Keys of the config that pages name exist; figures and images of pages are those of files and of today's code."""

import re

import pytest
import yaml

from benchmarks import docs_images
from hra_workflow.core import grid
from support import ROOT, merged, table_rows

IMAGES = [path.stem for path in sorted((ROOT / "docs/images").glob("*.png"))]
OF_VARIANT, OF_DEFAULTS = ("penalty", "train_head"), ("shuffle", "precision", "base_precision")


def page(name: str) -> str:
    """Return a page without line breaks."""
    return " ".join((ROOT / name).read_text().split())


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
    config, _ = merged(*changes)
    used = {run: grid.preset(config, "glue", run) for run in grid.run_names(config, "glue")}
    assert used["hra/r8-lambda1e-6"] == "table5-lambda1e-6"
    assert used["full/all"] == "full"  # which has no learning rate of HRA's


@pytest.mark.parametrize("file", ["glue_lambda", "math_lambda"])
def test_the_effect_of_lambda_is_that_of_the_papers_figures(file):
    rows = table_rows(ROOT / f"config/published/{file}.csv")
    values = [row["value"] for row in rows if row["column"] in ("MRPC", "GSM8K")]
    assert f"between {min(values)} and {max(values)} (Figure" in page("docs/questions.md")


def test_no_answer_changes_with_the_batch_size():
    """Compare docs/config/tasks.md with the table that `python -m benchmarks.batch_sizes` writes."""
    text = (ROOT / "benchmarks/README.md").read_text()
    (lines,) = re.findall(r"<!-- table batch sizes -->\n.*?\n.*?\n(.*?)\n<!-- end -->", text, re.DOTALL)
    changed = {int(cell) for line in lines.splitlines() for cell in line.strip("|").split("|")[1:4]}
    assert changed == {0} and "none (0 %) differs between batches" in page("docs/config/tasks.md")


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_made_from_what_is_here_today(name):
    path, sources = docs_images.FOLDER / f"{name}.png", docs_images.MADE_FROM[name]
    assert docs_images.stated(path) == docs_images.digest(sources), (
        f"docs/images/{name}.png was made from another state of {', '.join(map(str, sources))}. Run "
        "make demo, python -m benchmarks.docs_images; "
        "if the change does not show in the image: python -m benchmarks.docs_images --same"
    )


def test_every_image_is_on_a_page():
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    pages = "".join(path.read_text() for path in found if path.exists())
    assert set(IMAGES) == set(docs_images.MADE_FROM)
    names = [path.name for path in docs_images.FOLDER.iterdir()]
    assert not [name for name in names if f"images/{name}" not in pages]
