"""Write a contact sheet with one row per item and one column per method, filled by hra_workflow/tasks/{task}/sheet.py.

The scores of an image are below it. The names of the columns are repeated above every block of rows. Reference images
that belong to no row are in a separate band above the columns.
"""

from importlib import import_module

from hra_workflow.core.job import script
from hra_workflow.report.image_grid import BORDER, CAPTION, CELL, GAP, LINE, Sheet

STEP, HEAD = CELL + GAP, 2 * LINE + GAP
BLOCK = 5  # maximum number of rows
SCORES = 2  # below an image
BAND = "#e4e8ee"  # behind the reference images


def lines_of(scores: dict, metrics: dict[str, dict]) -> list[str]:
    """Format the first metrics that an image has as in the table, such as `77.5 S2I mIoU`; a blocked image has none."""
    found = [(column, value) for metric, column in metrics.items() if (value := scores.get(metric)) is not None]
    # The value comes first: a long name is truncated at the image's width.
    lines = [f"{value * (scale := one['scale']):.{1 if scale == 100 else 3}f} {one['name']}" for one, value in found]
    return lines[:SCORES]


def blocks_of(rows: list) -> list[list]:
    """Split rows into blocks of equal height, except the last one."""
    size = -(-len(rows) // -(-len(rows) // BLOCK)) if rows else 1
    return [rows[first : first + size] for first in range(0, len(rows), size)]


@script
def main(job: dict) -> None:
    contents = import_module(f"hra_workflow.tasks.{job['wildcards']['task']}.sheet").contents(job)
    references, columns, rows = contents["references"], contents["columns"], contents["rows"]
    texts = {
        (label, row): lines_of(of_run.get(row, {}), job["params"]["metrics"])
        for label, of_run in contents["scores"].items()
        for row in rows
    }
    step, blocks = STEP + max(map(len, texts.values()), default=0) * LINE, blocks_of(list(rows))
    left, top = BORDER + CAPTION, BORDER
    width = max(left + len(columns) * STEP, BORDER + len(references) * STEP) - GAP + BORDER
    band = BORDER + HEAD + CELL + BORDER if references else 0
    sheet = Sheet(width, band + top + len(blocks) * HEAD + len(rows) * step - GAP + BORDER)
    if references:
        sheet.draw.rectangle((0, 0, width, band - 1), BAND)
        sheet.say(BORDER, BORDER, width, HEAD, contents["heading"], bold=True)
        for index, reference in enumerate(references):
            sheet.show(BORDER + index * STEP, BORDER + HEAD, reference)
        top += band
        sheet.say(BORDER, top, CAPTION, HEAD, "Generated images", bold=True)
    for block in blocks:
        for index, label in enumerate(columns):
            sheet.say(left + index * STEP, top, CELL, HEAD, label, bold=True)
        top += HEAD
        for row in block:
            sheet.say(BORDER, top, CAPTION, CELL, rows[row])
            for index, (label, images) in enumerate(columns.items()):
                sheet.show(left + index * STEP, top, images.get(row))
                for place, line in enumerate(texts.get((label, row), [])):
                    sheet.say(left + index * STEP, top + CELL + place * LINE, CELL, LINE, line)
            top += step
    sheet.save(job["output"]["sheet"])


if __name__ == "__main__":
    main()
