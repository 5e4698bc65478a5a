"""Rows of text datasets by column, with the line of each row in the user's files, and checks for all formats.

Imported on login nodes.
"""

import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain

from hra_workflow.core.errors import JobError
from hra_workflow.data.row_problems import Problem, stop_at

SUGGESTED = (";", "\t", "|", ",")  # separators; an error names the one that fits
SHOWN = 40  # characters of a value in an error
# NUL is found in UTF-16 that is read as UTF-8, and in files that a crash has cut. JSON can escape half of a character.
NUL, SURROGATE = "the character NUL", "a surrogate without its other half"
REMOVE = "Remove it; if the file is UTF-16, save it as UTF-8 or set `read: {encoding: utf-16}`."


@dataclass
class Rows:
    """Rows of one or several files, by column; `where(row)` names the file and the line for an editor."""

    columns: dict[str, list] = field(default_factory=dict)
    lines: list[int] = field(default_factory=list)  # of the file, counted from 1
    files: list[tuple[int, str]] = field(default_factory=list)  # first row, "a.csv, line"
    broken: list[Problem] = field(default_factory=list)  # of lines that are no row; readers raise them with their own

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        _, unit = self.files[bisect_right([first for first, _ in self.files], row) - 1]
        return f"{unit} {self.lines[row]}"

    def add(
        self, where: str, unit: str, found: list[tuple[int, dict]], wanted: Set = frozenset(), header: Iterable = ()
    ) -> None:
        """Append the rows of a file, (line, columns) each; a column that only some rows have is None in the others.

        unit: "a.csv, line". wanted: the columns that are kept if all of them exist. header: columns that a file without
        rows has, too. Raises JobError if a name or value contains NUL or a lone surrogate.
        """
        columns = dict.fromkeys(chain(header, *(row for _, row in found)))
        if wanted and wanted <= columns.keys():
            columns = [column for column in columns if column in wanted]
        wrong = [(1, "", column) for column in columns if fault(column)] or [
            (line, f", column {column}", row[column])
            for line, row in found
            for column in columns
            if fault(row.get(column))
        ]

        def describe(index: int) -> str:
            line, column, value = wrong[index]
            return f"{unit} {line}{column}: expected text, found {fault(value)} in {value[:SHOWN]!r}"

        stop_at(where, Problem(range(len(wrong)), describe, REMOVE))
        before = len(self)
        self.files.append((before, unit))
        self.lines += [line for line, _ in found]
        for column in dict.fromkeys([*self.columns, *columns]):
            values = self.columns.setdefault(column, [None] * before)
            values += [row.get(column) for _, row in found]

    def add_broken(self, before: int, text: str, remedy: str) -> None:
        """Record a line of the file that will be added next; before: how many rows of that file it follows."""
        self.broken.append(Problem([len(self) + before], lambda _: text, remedy))

    def only(self, kept: Sequence[int]) -> "Rows":
        """Return only the rows with these indices, which are ascending unless there is only one file."""
        columns = {name: [values[row] for row in kept] for name, values in self.columns.items()}
        files = [(bisect_left(kept, first), unit) for first, unit in self.files]
        return Rows(columns, [self.lines[row] for row in kept], files=files, broken=self.broken)

    def shuffled(self, where: str, seed: int) -> "Rows":
        """Return the rows in the order of `datasets.Dataset.shuffle`; raise JobError if they are of several files."""
        import numpy

        if len(self.files) > 1:
            raise JobError(f"{where}: expected one file to shuffle, found {len(self.files)}. Join them.")
        return self.only(numpy.random.default_rng(seed).permutation(len(self)).tolist())

    def require(self, where: str, wanted: list[str], fix: str = "") -> None:
        """Raise JobError unless the columns exist; without a `fix`, name the separator with which they would."""
        missing, found = [column for column in wanted if column not in self.columns], list(self.columns)
        if not missing:
            return
        remedy = fix or other_separator(found) or "Correct `columns`, `label` or `read`"
        columns = f"column{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}"
        raise JobError(f"{where}: expected the {columns}, found {', '.join(map(repr, found))}. {remedy}.")


def check_names(where: str, names: Iterable[str]) -> None:
    """Raise JobError if a name occurs twice: readers use only one of the columns, or of the keys of a JSON object.

    Columns without a name, which spreadsheets leave at the right, are not read.
    """
    if twice := [name for name, count in Counter(names).items() if count > 1 and name.strip()]:
        found = ", ".join(map(repr, twice))
        raise JobError(f"{where}: expected each column once, found {found} more than once. Rename or remove one.")


def fault(value) -> str | None:
    """Return what a text contains that no file of texts can have, if anything."""
    if not isinstance(value, str):
        return None
    if "\0" in value:
        return NUL
    try:
        value.encode()
    except UnicodeEncodeError:
        return SURROGATE
    return None


def other_separator(header: list[str]) -> str:
    """Return the remedy for a header line that another separator would split, "" for another one."""
    split = next((sep for sep in SUGGESTED if len(header) == 1 and sep in header[0]), "")
    return split and f"Set `read: {{sep: {json.dumps(split)}}}`"
