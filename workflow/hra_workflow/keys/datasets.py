"""The keys that datasets of several tasks share, and models."""

from pydantic import PositiveFloat, PositiveInt

from hra_workflow.keys.section import Line, Section, Unique, key
from hra_workflow.keys.sources import Source


class Downloaded(Section, title="files: keys of models and datasets"):
    """Files that are downloaded."""

    source: Source = key("Where the files come from.", reruns="data")
    gigabytes: PositiveFloat = key("Size, for the plan before the download.", absent="not counted", reruns="nothing")
    license: Line = key(
        "Of the files, in one line, for the plan, the manifest and the card of an exported model.",
        absent="not stated",
        examples=["Apache-2.0"],
        reruns="nothing",
    )


class Rows(Downloaded, title=""):
    """Files with rows, by split."""

    rows: dict[str, int] = key(
        "Expected rows per split, which are checked; the plan's hours need them before the download.",
        absent="not checked",
        examples=[{"train": 67349, "validation": 872}],
        reruns="data",
    )


class Taken(Rows, title=""):
    """Files of which a part may be used."""

    take: dict[str, PositiveInt] = key(
        "Split → use only its first N rows, after `rows` is checked.",
        absent="all rows",
        examples=[{"train": 1000}],
        reruns="data",
    )


class Read(Section, title="read"):
    """Options of reading a text file, as of pandas.read_csv. Without it, the suffix says; other files are Parquet."""

    sep: str = key("Separator; longer than a character, a regular expression.", absent="`,`; of .tsv, a tab")
    header: int | None = key("Row of the column names, from 0; null: none.", absent="0; with `names`, null")
    names: Unique[str] = key(
        "Names of the columns.", absent="those of the row `header`", examples=[["id", "label", "sentence"]]
    )
    quoting: int = key("As in Python's csv: 3, quote characters belong to the texts, as often in .tsv.", default=0)
    encoding: str = key("Of the file, by Python's names.", default="utf-8-sig", examples=["latin-1"])


class Texts(Rows, title=""):
    """Files with texts."""

    tokens: PositiveInt = key(
        "About the mean tokens of a training row, for `hra-workflow smoke`, which trains on rows of this length.",
        absent="rows of `max_length` only",
        reruns="nothing",
    )
    read: Read = key(absent="by the files' suffixes", reruns="data")
