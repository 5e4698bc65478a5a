"""Write the run table of a task as a data set for the Hugging Face Hub: one Parquet file with types, and a card."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hra_workflow.core import files, seals
from hra_workflow.core.errors import expect
from hra_workflow.core.job import start
from hra_workflow.report import model_card, table_notes
from hra_workflow.report.run_columns import COLUMNS, FLAG, NUMBER, TEXT, WHOLE
from hra_workflow.report.run_statistics import read_sealed

READ = {TEXT: str, WHOLE: int, NUMBER: float, FLAG: {"true": True, "false": False}.__getitem__}
FILE = "runs.parquet"


def typed(path: Path) -> pa.Table:
    """Return the run table with the types of its columns; an empty cell is null."""
    runs = read_sealed(path)
    fields = [pa.field(name, kind, metadata={"description": text}) for name, (kind, text) in COLUMNS.items()]
    columns = [
        pa.array([READ[COLUMNS[field.name][0]](cell) if cell else None for cell in runs[field.name]], field.type)
        for field in fields
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def card_of(task: str, rows: int, table: str) -> str:
    """Return the card of the data set; `table`: the task's table as a Markdown page, may be empty."""
    from huggingface_hub import DatasetCardData

    content = DatasetCardData(
        pretty_name=f"Runs of table_{task}",
        tags=["peft", task],
        configs=[{"config_name": "default", "data_files": FILE}],
    )
    warnings = [line.removeprefix("- ") for line in table.splitlines() if line.startswith(f"- {table_notes.SEEN}")]
    part = re.sub(r"^#", "##", table.strip(), flags=re.MULTILINE)
    shown = {"table": part, "columns": COLUMNS, "warnings": warnings}
    template = model_card.templates().get_template("dataset_card.md")
    return template.render(metadata=content.to_yaml(), task=task, rows=rows, **shown)


def main(job: dict) -> None:
    params, card = job["params"], Path(job["output"]["card"])
    path, shown = Path(params["runs"]), Path(params["table"])
    expect(path.exists(), f"expected a finished table, found no {path}. Make it first (make run).")
    runs = typed(path)
    text = card_of(job["wildcards"]["task"], runs.num_rows, seals.read(shown) if shown.exists() else "")
    with files.replacing_folder(card.parent) as new:
        pq.write_table(runs, new / FILE)
        sources = [one for one in (path, shown) if one.exists()]
        seals.write(new / card.name, text, [new / FILE, *sources])
    print(f"wrote {card.parent}: {runs.num_rows} rows")


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
