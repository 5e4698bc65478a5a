"""Print the first predictions of a table, notes on the request, and the table's path, for `hra-workflow predict`.

python -m hra_workflow.commands.show_predictions TABLE [NOTE …]
"""

import csv
import sys
from pathlib import Path

from hra_workflow.core.wording import plural

FIRST = 3


def main() -> None:
    table, *notes = sys.argv[1:]
    table = Path(table)
    with table.open(newline="") as stream:
        heading, *rows = csv.reader(stream)
    csv.writer(sys.stdout, lineterminator="\n").writerows([heading, *rows[:FIRST]])
    print("\n".join(notes), end="\n" * bool(notes))
    images = [dict(zip(heading, row, strict=True)).get("image", "") for row in rows]
    if not (table.parent / images[0]).is_file():
        print(f"{plural(len(rows), 'prediction')}: {table}")
        return
    controls = ", each with its control image next to it (*.control.png)" * any(table.parent.glob("*.control.png"))
    print(f"{plural(len(images), 'image')}{controls}: {table.parent}")
    print(f"Their prompts and seeds: {table}")


if __name__ == "__main__":
    main()
