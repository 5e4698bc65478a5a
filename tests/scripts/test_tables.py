"""The paper's table, its notes and its forms."""

import sys

import factories
import table
from glue_tables import collect, grid, line, make_table
from hra_workflow.commands import print_table
from hra_workflow.report import run_statistics


def test_order_is_the_papers_then_our_own_beside_their_method(tmp_path):
    runs = ("head/all", "hra/r8-lambda1e-6", "hra/r8-inf", "hra/r8", "full/all")
    expected = grid(tmp_path, runs=runs, seeds=(0,))
    collect(tmp_path, expected)
    made = make_table(tmp_path, expected)
    best = made[made["selection"] == "best_on_dev"]
    assert best["method"].tolist() == [
        "Full Fine-tune", "BitFit", "H-Adapter", "P-Adapter", "LoRA", "AdaLoRA", "OFT", "BOFT", *["HRA"] * 4, "Head",
    ]  # fmt: skip
    ours = best.loc[best["run"] != "", "run"].tolist()
    assert ours == ["full/all", "hra/r8", "hra/r8-inf", "hra/r8-lambda1e-6", "head/all"]
    assert made.loc[made["run"] == "", "selection"].eq("best_on_dev").all()


def test_labels_with_signs_of_markup_are_shown_as_they_are(tmp_path):
    """Read back by a parser of Markdown; the CSV holds the texts themselves."""
    from markdown_it import MarkdownIt

    label, column, average = "=1+1|a $x$ <i>*b*</i> _c_ `d`", "CoLA | $x$ <b>", "[All](x) ~~&lt;~~"
    expected = grid(tmp_path, runs=("hra/r8", "lora/r8"), seeds=(0,))
    collect(tmp_path, expected, made=expected[:1], incomplete=True)
    job = factories.table_job(tmp_path, expected)
    job["params"]["columns"] = [job["params"]["columns"][0] | {"name": column}]
    job["params"] |= {"averages": {average: [column]}, "rows": [{"run": "hra/r8", "label": label}]}
    job["params"]["rows"].append({"run": "lora/r8", "label": label + "2"})
    table.main(job)
    made = run_statistics.read_csv(tmp_path / "table_glue.csv")
    assert {column, average} <= set(made.columns) and label in made["method"].tolist()

    def shown(tokens) -> str:
        return "".join(token.content for token in tokens if token.type in ("text", "text_special", "code_inline"))

    parsed = MarkdownIt("commonmark").enable("table").parse((tmp_path / "table_glue.md").read_text())
    texts = [token.children for token in parsed if token.type == "inline"]
    assert all(token.type != "html_inline" for children in texts for token in children)
    cells = [shown(children) for children in texts]
    start = cells.index(label)
    assert cells[start - 2 : start] == [f"{column} ↑", f"{average} ↑"]
    assert any(cell.startswith(f"Missing results for {label}2: ") for cell in cells)
    assert any(f"presets: {label}: " in cell for cell in cells)
    assert "\\$x\\$" in (tmp_path / "table_glue.md").read_text()  # GitHub takes $x$ for mathematics


def test_the_terminal_table_fits(tmp_path, monkeypatch, capsys):
    expected = grid(tmp_path, datasets=tuple(factories.METRICS), runs=tuple(factories.LABELS), seeds=(0, 1))
    collect(tmp_path, expected)
    make_table(tmp_path, expected)
    monkeypatch.setattr(sys, "argv", ["print_table.py", str(tmp_path / "table_glue.csv")])
    for width in (80, 120, 180):
        monkeypatch.setenv("COLUMNS", str(width))
        print_table.main()
        head, _, notes = capsys.readouterr().out.partition("Notes: ")
        assert max(map(len, head.splitlines())) <= width and "…" not in head
        assert all(text in head for text in ("MNLI", "STS-B", "HRA", "r=8, λ=∞", "H-Adapter"))
        assert f"{tmp_path}/table_glue.md;" in notes


def test_a_column_of_many_datasets_is_their_mean(tmp_path):
    """Check the mean of means; if no evaluated run has the metric, the cell is empty."""
    expected = grid(tmp_path, datasets=("rte", "sst2"), runs=("hra/r8", "lora/r8"), seeds=(0, 1))
    made = [run for run in expected if (run["dataset"], run["method"], run["seed"]) != ("rte", "hra", 1)]
    runs = collect(tmp_path, expected, made=made, incomplete=True)
    job = factories.table_job(tmp_path, expected)
    wide = {"name": "Both", "datasets": ["rte", "sst2"], "benchmark": "dev", "metric": "accuracy"}
    job["params"] |= {"columns": [wide, wide | {"name": "None", "metric": "unheard"}], "averages": {}, "scale": 1}
    table.main(job)
    made = run_statistics.read_csv(tmp_path / "table_glue.csv")
    chosen = runs[(runs["selection"] == "last") & (runs["metric"] == "accuracy") & (runs["status"] == "ok")]
    chosen = chosen.astype({"value": float}).groupby(["method", "dataset"])["value"].mean()
    hra, lora = line(made, "hra/r8", "last"), line(made, "lora/r8", "last")
    assert (hra["Both"], hra["Both_n"]) == (f"{chosen['hra'].mean():.3f}", "1") and "rte" in hra["missing"]
    assert (lora["Both"], lora["Both_n"]) == (f"{chosen['lora'].mean():.3f}", "2")
    assert lora["None"] == lora["None_n"] == hra["None"] == ""
    assert "Unscaled, not percent." in (tmp_path / "table_glue.md").read_text()


def test_what_the_grid_does_not_have_is_empty_and_not_a_hole(tmp_path):
    """A sweep over λ may run on one dataset only."""
    sweep = grid(tmp_path, datasets=("mrpc",), runs=("hra/r8-lambda1e-6",), seeds=(0, 1))
    expected = [*grid(tmp_path, datasets=("mrpc", "cola"), seeds=(0,)), *sweep]
    collect(tmp_path, expected, made=expected[:1] + sweep, incomplete=True)
    made = make_table(tmp_path, expected)
    assert (line(made, "hra/r8")["CoLA_n"], line(made, "hra/r8-lambda1e-6")["CoLA_n"]) == ("0", "")
    assert line(made, "hra/r8-lambda1e-6")["missing"] == ""
