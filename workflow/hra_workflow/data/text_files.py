"""Reading of text datasets: rows of CSV, TSV, JSON and Parquet files, each with the line at which it starts.

It is imported on login nodes, where a dry run reads the user's files, so it does not use pandas: it uses csv and json
of the standard library, and pyarrow for Parquet.
"""

import codecs
import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Set
from functools import partial
from pathlib import Path

from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import plural
from hra_workflow.data.row_problems import stop_at
from hra_workflow.data.text_rows import Rows, check_names, other_separator

SEPARATORS = {".csv": ",", ".tsv": "\t"}
SHOWN = 80  # characters of a line in an error
READ = 65_536  # rows of Parquet at a time
BROKEN_JSON = "Correct the line; if the file is truncated or has another format, replace it."


def read(
    where: str, paths: list[Path], stated: dict | None, columns: Iterable[str] = (), first: int | None = None
) -> Rows:
    """Read the rows of all files; texts as strings, so that a sentence 'NA' or 'null' is kept.

    JSON is recognised by its suffix; other files are read with the config's `read` if it is set, else as .csv, .tsv or
    Parquet by their suffix. Only these `columns` of JSON and Parquet, and the `first` rows of Parquet files, which may
    not fit into memory, are read. Lines that are no row of these columns are in `broken`.
    """
    rows, columns = Rows(), set(columns)
    for path in paths:
        require_file(where, path)
        if path.suffix in (".json", ".jsonl"):
            read_json(rows, where, path, columns)
        elif stated is None and path.suffix not in SEPARATORS:
            read_parquet(rows, where, path, columns, first)
        else:
            read_separated(rows, where, path, {"sep": SEPARATORS.get(path.suffix, ",")} | (stated or {}), columns)
    if not len(rows):
        stop_at(where, *rows.broken)
    return rows


def require_file(where: str, path: Path) -> None:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "none"
        raise JobError(f"{where}: expected a file {path.name}, found {found}. Correct its path.")


def read_lines(where: str, path: Path, column: str) -> Rows:
    """Read one text per non-blank line."""
    require_file(where, path)
    try:
        with path.open(encoding="utf-8-sig") as stream:
            kept = {number: line.rstrip("\n") for number, line in enumerate(stream, 1) if line.strip()}
    except UnicodeDecodeError as problem:
        raise undecodable(where, path, "utf-8-sig", problem) from problem
    rows = Rows()
    rows.add(where, path.name, "line", [column], list(kept), [list(kept.values())])
    return rows


# Text with separators


def read_separated(rows: Rows, where: str, path: Path, options: dict, wanted: set[str]) -> None:
    """Read lines of fields; a separator longer than a character is a regular expression.

    A line may lack fields at its end that are not `wanted`.
    """

    def unreadable(line: int, reason: str, remedy: str = "Correct the line, or `read`") -> JobError:
        return JobError(f"{where}: {path.name}, line {line}: {reason}. {remedy}.")

    encoding, separator = options.get("encoding", "utf-8-sig"), options["sep"]
    lines: list[int] = []
    values: list[list[str]] = []
    others: list[tuple[int, int, list[str]]] = []  # number of rows before it, line and fields
    least = 0
    header: list[str] | None = options.get("names")
    first = options.get("header", None if header else 0)  # the row with the names; None: no such row
    try:
        for number, (line, fields) in enumerate(records(path, encoding, options)):
            if number == first:
                header = header or fields
            elif first is None or number > first:
                header = header or [str(column) for column in range(len(fields))]
                least = least or max((column for column, name in enumerate(header, 1) if name in wanted), default=1)
                if not least <= len(fields) <= len(header):
                    others.append((len(lines), line, fields))
                    continue
                lines.append(line)
                values.append(fields + [""] * (len(header) - len(fields)))
    except UnicodeDecodeError as problem:
        raise undecodable(where, path, encoding, problem) from problem
    except UnclosedQuote as problem:
        remedy = "Close it, or if quote characters belong to the texts set `read: {quoting: 3}`"
        raise unreadable(problem.args[0], "a quote opens and the file ends before it closes", remedy) from problem
    except (csv.Error, LookupError) as problem:
        raise unreadable(1, str(problem)) from problem
    if header is None:
        raise unreadable(1, "expected a header line, found an empty file")
    expected = f"expected {plural(len(header), 'field')} ({', '.join(header)})"
    remedy, keys = (f"{separate}.", []) if (separate := other_separator(header)) else ("", ["read"])
    for before, line, fields in others:
        found = f"found {len(fields)}: {separator.join(fields)[:SHOWN]!r}"
        text = f"{path.name}, line {line}: {expected}, {found}"
        rows.add_broken(before, text, remedy, keys)
    rows.add(
        where,
        path.name,
        "line",
        header,
        lines,
        map(list, zip(*values, strict=True)) if values else [[] for _ in header],
    )


class UnclosedQuote(Exception):
    """Raised with the line at which a quote opens that the file never closes."""


def records(path: Path, encoding: str, options: dict) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of every record that is not blank, with the line at which it starts."""
    csv.field_size_limit(sys.maxsize)  # a text may be longer than csv's 128 KiB
    separator, quoting = options["sep"], options.get("quoting", csv.QUOTE_MINIMAL)
    with path.open(encoding=encoding, newline="") as stream:
        if len(separator) > 1:
            split = re.compile(separator)
            for line, text in enumerate(stream, 1):
                if text.strip():
                    yield line, split.split(text.rstrip("\r\n"))
            return
        reader, line, taken = csv.reader(noted := Noted(stream), delimiter=separator, quoting=quoting), 0, []
        for fields in reader:
            start, line, taken = line + 1, reader.line_num, noted.take()
            if fields and not (len(fields) == 1 and fields[0].isspace()):
                yield start, fields
        if taken and not closes(taken, separator, quoting):
            raise UnclosedQuote(start)


class Noted:
    """Iterates over lines and keeps those since the last `take`."""

    def __init__(self, lines: Iterable[str]):
        self.lines, self.kept = iter(lines), []

    def __iter__(self) -> "Noted":
        return self

    def __next__(self) -> str:
        self.kept.append(line := next(self.lines))
        return line

    def take(self) -> list[str]:
        taken, self.kept = self.kept, []
        return taken


def closes(lines: list[str], separator: str, quoting: int) -> bool:
    """Return whether the quotes of a record are closed, so that another field may follow."""
    after = f"{separator}end"
    *_, last = csv.reader([*lines[:-1], lines[-1].rstrip("\r\n") + after], delimiter=separator, quoting=quoting)
    return last[-1] == "end"


def undecodable(where: str, path: Path, encoding: str, problem: UnicodeDecodeError) -> JobError:
    """Describe the first byte that cannot be decoded, with its line and the probable encoding of the file."""
    content = path.read_bytes()
    try:
        content.decode(encoding)
    except UnicodeDecodeError as first:  # `problem` counts from the start of a part of the file
        problem = first
    line = content[: problem.start].count(b"\n") + 1
    likely = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "latin-1"
    return JobError(
        f"{where}: {path.name}, line {line}: expected text in {encoding.removesuffix('-sig').upper()}, found the byte "
        f"0x{content[problem.start]:02x}. Save the file as UTF-8, or set `read: {{encoding: {likely}}}`."
    )


# JSON and Parquet


def read_json(rows: Rows, where: str, path: Path, wanted: Set[str]) -> None:
    """Read a list of objects (.json) or one object per line (.jsonl), without type inference."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise undecodable(where, path, "utf-8-sig", problem) from problem
    add_json(rows, where, path.name, text, path.suffix == ".jsonl", wanted)


def add_json(rows: Rows, where: str, name: str, text: str, by_line: bool, wanted: Set[str] = frozenset()) -> None:
    """Append a list of objects, or one object per line, of the file `name`: the wanted columns, else all of them."""
    # Not splitlines: a JSON text may contain U+2028 and the like.
    parts = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()] if by_line else [(1, text)]
    lines, values, unit = [], [], "line" if by_line else "row"
    for number, part in parts:
        try:
            value = json.loads(part, object_pairs_hook=partial(once, f"{where}: {name}, line {number}"))
        except (json.JSONDecodeError, RecursionError) as problem:
            line, reason = number + getattr(problem, "lineno", 1) - 1, getattr(problem, "msg", problem)
            text = f"{name}, line {line}: expected JSON, found {part[:SHOWN]!r} ({reason})"
            rows.add_broken(len(values), text, BROKEN_JSON)
            continue
        several = value if not by_line and isinstance(value, list) else [value]
        for row, one in enumerate(several, number):
            if isinstance(one, dict):
                lines.append(row)
                values.append(one)
            else:
                text = f"{name}, {unit} {row}: expected an object, found {str(one)[:SHOWN]!r}"
                rows.add_broken(len(values), text, "Write one object per row.")
    header = dict.fromkeys(column for value in values for column in value)
    if wanted and wanted <= header.keys():
        header = [column for column in header if column in wanted]
    rows.add(where, name, unit, header, lines, [[value.get(column) for value in values] for column in header])


def once(where: str, pairs: list[tuple[str, object]]) -> dict:
    """Build a JSON object; raise JobError if a key occurs twice, of which Python uses the last."""
    check_names(where, (name for name, _ in pairs))
    return dict(pairs)


def read_parquet(rows: Rows, where: str, path: Path, wanted: set[str], first: int | None) -> None:
    """Read the wanted columns of the first rows; all columns if one of them is missing, for the error that names it."""
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        columns = wanted if wanted <= set(file.schema_arrow.names) else ()
        left = file.metadata.num_rows if first is None else max(0, first - len(rows))
        batches = file.iter_batches(min(left, READ) or 1, columns=[*columns] or None)
        taken: list[pyarrow.RecordBatch] = []
        while left > sum(map(len, taken)) and (batch := next(batches, None)) is not None:
            taken.append(batch)
        table = pyarrow.Table.from_batches(taken, None if taken else file.schema_arrow).slice(length=left)
    except pyarrow.ArrowInvalid as problem:
        reason = " ".join(str(problem).split())
        raise JobError(
            f"{where}: {path.name} cannot be read as Parquet: {reason}. "
            "Name it .csv, .tsv, .json, .jsonl or .parquet, or state `read`."
        ) from problem
    rows.unread += file.metadata.num_rows - table.num_rows
    values = (column.to_pylist() for column in table.columns)
    rows.add(where, path.name, "row", table.column_names, list(range(1, table.num_rows + 1)), values)
