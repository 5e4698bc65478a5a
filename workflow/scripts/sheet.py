"""Write a contact sheet with one row per item and one column per method, filled by common/tasks/{task}/sheet.py."""

from importlib import import_module

from common.core.job import start
from common.report.image_grid import CELL, GAP, MARGIN, TEXT, Sheet

STEP = CELL + GAP


def main(job: dict) -> None:
    contents = import_module(f"common.tasks.{job['wildcards']['task']}.sheet").contents(job)
    references, columns, rows = contents["references"], contents["columns"], contents["rows"]
    top = STEP * bool(references)
    sheet = Sheet(MARGIN + max(len(columns), len(references)) * STEP, top + TEXT + len(rows) * STEP)
    sheet.say(0, 0, MARGIN, CELL, contents["heading"])
    for index, reference in enumerate(references):
        sheet.show(MARGIN + index * STEP, 0, reference)
    for line, caption in enumerate(rows.values()):
        sheet.say(0, top + TEXT + line * STEP, MARGIN, CELL, caption)
    for index, (label, images) in enumerate(columns.items()):
        x = MARGIN + index * STEP
        sheet.say(x, top, CELL, TEXT, label)
        for line, row in enumerate(rows):
            sheet.show(x, top + TEXT + line * STEP, images.get(row))
    sheet.save(job["output"]["sheet"])


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
