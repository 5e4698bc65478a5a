"""Grade your outputs like those of the tables: strict, lenient, and by the official repository's rules.

The file (CSV, TSV, JSON, JSON lines or parquet) has an output and a reference answer per row. The reference is marked
as in the benchmarks (gsm8k: #### N, boxed: \\boxed{N}, metamath: The answer is: N); without a mark it is the complete
text. With gsm8k, answers are compared as numbers, otherwise as expressions. Prints the accuracies and writes every row
with its verdicts to outputs.graded.jsonl.
"""

import contextlib
import json
import os
from pathlib import Path

from hra_results import STYLES
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.data import text_files, text_tables
from hra_workflow.data.row_problems import Problem, stop_at
from hra_workflow.tasks.math import answers, graders


def references(style: str, texts: list[str], where: str) -> list[str]:
    """Return the reference answers; raise JobError for an answer that is not marked like the others or by `style`."""
    golds: list[str] = []
    missing: dict[int, ValueError] = {}
    for row, text in enumerate(texts, 1):
        try:
            golds.append(answers.gold(style, text))
        except ValueError as problem:
            missing[row] = problem
    remedy = "Mark it as the other references are, or pass another --style."
    stop_at(where, Problem([*missing] if golds else [], lambda row: f"row {row}: {missing[row]}", remedy))
    for row, text in enumerate(() if golds else texts, 1):
        for other in STYLES:
            with contextlib.suppress(ValueError):
                answers.gold(other, text)
                raise JobError(
                    f"{where}, row {row}: expected a reference of style {style} or an answer without a mark, found "
                    f"one of style {other}: {text}. Pass --style {other}."
                )
    if not golds and style == "gsm8k":
        words = [row for row, text in enumerate(texts, 1) if answers.number(text) is None]
        remedy = "Pass another --style for other references."
        stop_at(where, Problem(words, lambda row: f"row {row}: expected a number, found {texts[row - 1]}", remedy))
    return golds or [text.strip() for text in texts]


def grade(path: Path, output: str, answer: str, style: str) -> list[dict]:
    """Return the rows of a file, each with its `gold` and grades."""
    rows = text_files.read(str(path), [path], None)
    rows.require(str(path), [output, answer])
    stop_at(str(path), *rows.broken)
    rows.columns[answer] = [str(value) if isinstance(value, int) else value for value in rows.columns[answer]]
    outputs, texts = (text_tables.texts_of(str(path), rows, name) for name in (output, answer))
    golds = references(style, texts, str(path))
    verdicts = answers.grade_all(style, outputs, golds, os.cpu_count() or 1)
    return [
        {"output": text, "gold": gold} | verdict for text, gold, verdict in zip(outputs, golds, verdicts, strict=True)
    ]


def run(path: Path, style: str, output: str, answer: str) -> int:
    """Print the accuracies and write every grade. output, answer: names of columns."""
    graded = grade(path, output, answer, style)
    place = path.with_suffix(".graded.jsonl")
    files.write_text(place, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in graded))
    for way in graders.GRADERS:
        found = answers.accuracy([row[way]["right"] for row in graded])
        late = sum("timeout" in row[way] for row in graded)
        note = f"; {late} without a result in time" if late else ""
        error = f"standard error {100 * found['stderr']:.2f}"
        print(f"{way:<9}{100 * found['value']:6.2f} % of {len(graded)}, {error}{note}")
    print(f"Every grade: {place}")
    return 0
