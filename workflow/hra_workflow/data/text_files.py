"""Reading of text datasets: rows of CSV, TSV, JSON and Parquet files, each with the line at which it starts.

Not by pandas: of a wrong file it reports the first wrong line, or none: it fills in missing fields, makes an index of
extra ones, renames the second of two columns, drops half characters and makes floats of JSON's integers if one is null.
Also, login nodes import this module, where a dry run reads the user's files.
"""

import codecs
import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Set
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import TextIO

from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import plural
from hra_workflow.data.row_problems import stop_at
from hra_workflow.data.text_rows import Rows, check_names, other_separator

SEPARATORS = {".csv": ",", ".tsv": "\t"}
SHOWN = 80  # characters of a line in an error
BROKEN_JSON = "Correct the line; if the file is truncated or has another format, replace it."


def read(where: str, paths: list[Path], stated: dict | None, columns: Iterable[str] = ()) -> Rows:
    """Read the rows of all files; texts as strings, so that a sentence 'NA' or 'null' is kept.

    JSON is recognised by its suffix; other files are read with the config's `read` if it is set, else as .csv, .tsv or
    Parquet by their suffix. Only these `columns` of JSON and Parquet are read. Lines that are no row of these columns
    are in `broken`.
    """
    rows, columns = Rows(), set(columns)
    for path in paths:
        require_file(where, path)
        if path.suffix in (".json", ".jsonl"):
            text = decoded(where, path.name, path.read_bytes()).read()
            add_json(rows, where, path.name, text, path.suffix == ".jsonl", columns)
        elif stated is None and path.suffix not in SEPARATORS:
            read_parquet(rows, where, path, columns)
        else:
            read_separated(rows, where, path, {"sep": SEPARATORS.get(path.suffix, ",")} | (stated or {}), columns)
    stop_if_empty(where, rows)
    return rows


def read_lines(where: str, path: Path, column: str) -> Rows:
    """Read one text per non-blank line."""
    require_file(where, path)
    lines = enumerate(decoded(where, path.name, path.read_bytes()), 1)
    rows = Rows()
    rows.add(where, f"{path.name}, line", [(n, {column: line.rstrip("\n")}) for n, line in lines if line.strip()])
    stop_if_empty(where, rows)
    return rows


def stop_if_empty(where: str, rows: Rows) -> None:
    if not len(rows):
        stop_at(where, *rows.broken)
        raise JobError(f"{where}: no rows.")


def require_file(where: str, path: Path) -> None:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "none"
        raise JobError(f"{where}: expected a file {path.name}, found {found}. Correct its path.")


def decoded(
    where: str, name: str, content: bytes, encoding: str = "utf-8-sig", newline: str | None = None, read: bool = False
) -> TextIO:
    """Return the text of a file; raise JobError with the first byte that cannot be decoded, and its line.

    newline: as of `open`. read: whether the config's `read` can state the encoding.
    """
    try:
        content.decode(encoding)
    except UnicodeDecodeError as problem:
        line = problem.object[: problem.start].count(b"\n") + 1
        likely = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "latin-1"
        raise JobError(
            f"{where}: {name}, line {line}: expected text in {encoding.removesuffix('-sig').upper()}, found the byte "
            f"0x{problem.object[problem.start]:02x}. Save the file as UTF-8"
            f"{f', or set `read: {{encoding: {likely}}}`' * read}."
        ) from problem
    return io.TextIOWrapper(io.BytesIO(content), encoding, newline=newline)


# Text with separators


def read_separated(rows: Rows, where: str, path: Path, options: dict, wanted: set[str]) -> None:
    """Read lines of fields; a separator longer than a character is a regular expression.

    A line may lack fields at its end that are not `wanted`.
    """
    found: list[tuple[int, dict]] = []
    header: list[str] | None = options.get("names")
    first, least = options.get("header", None if header else 0), 0  # first: the row with the names; None: no such row
    for number, (line, fields) in enumerate(records(where, path, options)):
        if number == first:
            header = header or fields
        elif first is None or number > first:
            header = header or [str(column) for column in range(len(fields))]
            least = least or max((column for column, name in enumerate(header, 1) if name in wanted), default=1)
            if least <= len(fields) <= len(header):
                found.append((line, dict(zip_longest(header, fields, fillvalue=""))))
            else:
                expected = f"expected {plural(len(header), 'field')} ({', '.join(header)}), found {len(fields)}"
                text = f"{path.name}, line {line}: {expected}: {options['sep'].join(fields)[:SHOWN]!r}"
                rows.add_broken(len(found), text, f"{other_separator(header) or 'Correct the file or `read`'}.")
    if header is None:
        raise unreadable(where, path, 1, "expected a header line, found an empty file")
    check_names(f"{where}: {path.name}", header)
    rows.add(where, f"{path.name}, line", found, header=header)


def records(where: str, path: Path, options: dict) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of every record that is not blank, with the line at which it starts."""
    csv.field_size_limit(sys.maxsize)  # a text may be longer than csv's 128 KiB
    separator, quoting, line = options["sep"], options.get("quoting", csv.QUOTE_MINIMAL), 1
    try:
        encoding = options.get("encoding", "utf-8-sig")
        stream = decoded(where, path.name, path.read_bytes(), encoding, newline="", read=True)
        if len(separator) > 1:
            split = re.compile(separator)
            for line, text in enumerate(stream, 1):
                if text.strip():
                    yield line, split.split(text.rstrip("\r\n"))
            return
        # A last line of two fields, both of which become part of a text whose quote is still open.
        reader = csv.reader(chain(stream, [f"0{separator}0"]), delimiter=separator, quoting=quoting)
        start, fields = 1, []
        for following in reader:
            if fields and not (len(fields) == 1 and fields[0].isspace()):
                yield start, fields
            line, start, fields = reader.line_num + 1, line, following
    except (csv.Error, LookupError, ValueError) as problem:  # also of an unknown encoding and of other `quoting`
        raise unreadable(where, path, line, str(problem)) from problem
    if separator in str(fields[-1]):
        remedy = "Close it, or if quote characters belong to the texts set `read: {quoting: 3}`"
        raise unreadable(where, path, start, "a quote opens and the file ends before it closes", remedy)


def unreadable(where: str, path: Path, line: int, reason: str, remedy: str = "Correct the line, or `read`") -> JobError:
    return JobError(f"{where}: {path.name}, line {line}: {reason}. {remedy}.")


# JSON and Parquet


def add_json(rows: Rows, where: str, name: str, text: str, by_line: bool, wanted: Set[str] = frozenset()) -> None:
    """Append a list of objects, or one object per line, of the file `name`, without type inference."""
    # Not splitlines: a JSON text may contain U+2028 and the like.
    parts = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()] if by_line else [(1, text)]
    found, unit = [], f"{name}, {'line' if by_line else 'row'}"
    for number, part in parts:
        try:
            value = json.loads(part, object_pairs_hook=partial(once, f"{where}: {name}, line {number}"))
        except (json.JSONDecodeError, RecursionError) as problem:
            line, reason = number + getattr(problem, "lineno", 1) - 1, getattr(problem, "msg", problem)
            text = f"{name}, line {line}: expected JSON, found {part[:SHOWN]!r} ({reason})"
            rows.add_broken(len(found), text, BROKEN_JSON)
            continue
        for row, one in enumerate(value if not by_line and isinstance(value, list) else [value], number):
            if isinstance(one, dict):
                found.append((row, one))
            else:
                text = f"{unit} {row}: expected an object, found {str(one)[:SHOWN]!r}"
                rows.add_broken(len(found), text, "Write one object per row.")
    rows.add(where, unit, found, wanted)


def once(where: str, pairs: list[tuple[str, object]]) -> dict:
    """Build a JSON object; raise JobError if a key occurs twice, of which Python uses the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        check_names(where, (name for name, _ in pairs))
    return found


def read_parquet(rows: Rows, where: str, path: Path, wanted: set[str]) -> None:
    """Read the wanted columns; all columns if one of them is missing, for the error that names it."""
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        names = [name for name in names if name in wanted] if wanted <= set(names) and wanted else names
        check_names(f"{where}: {path.name}", names)
        found = file.read(columns=names).to_pylist()
    except pyarrow.ArrowInvalid as problem:
        reason = " ".join(str(problem).split())
        raise JobError(
            f"{where}: {path.name} cannot be read as Parquet: {reason}. "
            "Name it .csv, .tsv, .json, .jsonl or .parquet, or state `read`."
        ) from problem
    rows.add(where, f"{path.name}, row", [*enumerate(found, 1)])
