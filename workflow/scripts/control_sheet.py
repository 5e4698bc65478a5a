"""Control signals at a glance: a line a hint, with its photograph and what each method drew from hint and prompt."""

from common.core.job import start
from common.data import images
from common.report.image_grid import CELL, GAP, MARGIN, TEXT, Sheet, evenly_spaced
from common.report.run_statistics import as_list
from common.tasks.control import data as control_data
from common.tasks.control import task as controls


def main(job: dict) -> None:
    params = job["params"]
    split = control_data.opened(job["input"]["dataset"], controls.BENCHMARK)
    chosen = evenly_spaced(len(split), params["rows"])
    columns = {
        "hint": {row: split.hint(row) for row in chosen},
        "photograph": {row: split.picture(row) for row in chosen},
    }
    for path in as_list(job["input"].get("images")):
        found = {picture.about["row"]: picture for picture in images.unpack(path) if picture.about["row"] in chosen}
        columns[params["labels"][path]] = {row: picture.image for row, picture in found.items()}
    sheet = Sheet(MARGIN + len(columns) * (CELL + GAP), TEXT + len(chosen) * (CELL + GAP))
    for index, (label, found) in enumerate(columns.items()):
        x = MARGIN + index * (CELL + GAP)
        sheet.say(x, 0, CELL, TEXT, label)
        for line, row in enumerate(chosen):
            y = TEXT + line * (CELL + GAP)
            sheet.say(0, y, MARGIN, CELL, split.value(row, "prompt"))
            sheet.show(x, y, found.get(row))
    sheet.save(job["output"]["sheet"])


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
