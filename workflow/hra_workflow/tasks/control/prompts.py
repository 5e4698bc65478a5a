"""Prompts of a control dataset, from a file in one of several formats or from the config: (key, prompt) per image."""

import json
from functools import partial
from pathlib import Path

from hra_workflow.core.errors import JobError
from hra_workflow.data import text_files
from hra_workflow.data.row_problems import Problem, stop_at
from hra_workflow.data.text_rows import Rows
from hra_workflow.data.text_tables import EMPTY_FRACTION, is_empty
from hra_workflow.data.zip_archives import NamedBytes

KEYS = {"image", "source", "prompt"}
REMEDY = "Correct the file or `prompts`."
SHOWN = 80  # characters of a line in an error


def read(file: NamedBytes) -> list[tuple[str, str]]:
    """Read JSON Lines or a list of {source or image, prompt}, or the first of COCO's captions per image.

    Lines `KEY CATEGORY`, as in ADE20K's sceneCategories.txt, give the category as the prompt.
    """
    where, name, rows = str(file), Path(str(file)).name, Rows()
    text = text_files.decoded(where, name, file.getvalue(), newline="").read()
    try:
        whole = json.loads(text, object_pairs_hook=partial(text_files.once, where))
    except (json.JSONDecodeError, RecursionError):
        whole = None
    if isinstance(whole, dict) and "annotations" in whole:
        add_captions(rows, where, name, whole)
    elif isinstance(whole, dict) and not KEYS & whole.keys():
        raise unknown_format(where, text)
    elif isinstance(whole, dict) or text.lstrip().startswith("["):
        text_files.add_json(rows, where, name, text, by_line=False)
    elif any(line.lstrip().startswith("{") for line in text.split("\n")):
        text_files.add_json(rows, where, name, text, by_line=True)
    else:
        add_categories(rows, where, name, text)
    return checked(where, rows)


def stated(entries: list[dict]) -> list[tuple[str, str]]:
    """Return the prompts of a list in the config."""
    rows = Rows()
    rows.add("prompts", "the config, entry", [*enumerate(entries, 1)])
    return checked("prompts", rows)


def checked(where: str, rows: Rows) -> list[tuple[str, str]]:
    """Return the key and the prompt of every row; raise JobError for rows without one, of which a few may be empty."""
    image, source, texts = (rows.columns.get(name, [None] * len(rows)) for name in ("image", "source", "prompt"))
    names = [one or other for one, other in zip(image, source, strict=True)]
    empty = [row for row, text in enumerate(texts) if isinstance(text, str) and is_empty(text)]

    def describe(column: str, expected: str, values: list, row: int) -> str:
        found = "none" if values[row] in (None, "") or row in empty else repr(values[row])
        return f"{rows.where(row)}, column {column}: expected {expected}, found {found}"

    nameless = [row for row, one in enumerate(names) if not (isinstance(one, str) and Path(one).stem)]
    wrong = [row for row, text in enumerate(texts) if not isinstance(text, str)]
    wrong += empty if len(empty) > EMPTY_FRACTION * len(rows) else []
    stop_at(
        where,
        *rows.broken,
        Problem(nameless, partial(describe, "image", "the name of a file", names), REMEDY),
        Problem(sorted(wrong), partial(describe, "prompt", "text", texts), REMEDY),
    )
    return [(Path(one).stem, text) for one, text in zip(names, texts, strict=True)]


def add_captions(rows: Rows, where: str, name: str, content: dict) -> None:
    first: dict[int, str] = {}
    try:
        for entry in content["annotations"]:
            first.setdefault(entry["image_id"], entry["caption"].strip())
        listed = sorted(content["images"], key=lambda entry: entry["file_name"])
        found = [(one["id"], {"image": one["file_name"], "prompt": first.get(one["id"])}) for one in listed]
    except (KeyError, TypeError, AttributeError) as problem:
        reason = f"{type(problem).__name__}: {problem}"
        raise JobError(f"{where}: expected COCO's captions, found other objects ({reason}). {REMEDY}") from problem
    rows.add(where, f"{name}, image", found)


def add_categories(rows: Rows, where: str, name: str, text: str) -> None:
    found = []
    for line, stated in enumerate(text.split("\n"), 1):
        words = stated.split()
        if len(words) == 2:
            found.append((line, {"image": words[0], "prompt": words[1].replace("_", " ")}))
        elif words:
            expected = f"expected KEY CATEGORY, found {stated.strip()[:SHOWN]!r}"
            rows.add_broken(len(found), f"{name}, line {line}: {expected}", REMEDY)
    if len(found) <= len(rows.broken):
        raise unknown_format(where, text)
    rows.add(where, f"{name}, line", found)


def unknown_format(where: str, text: str) -> JobError:
    return JobError(
        f"{where}: expected JSON Lines or a JSON list of objects with `image` (or `source`) and `prompt`, COCO's "
        f"captions, or lines `KEY CATEGORY`, found {text.strip()[:SHOWN]!r}. {REMEDY}"
    )
