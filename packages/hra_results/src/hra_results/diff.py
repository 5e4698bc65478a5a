"""Compare two states: what differs in settings, libraries, data and code, then in numbers, then in single items.

A and B are folders of results, of a run, or anything between them, such as a method variant with its seeds. Their runs
are matched by their paths below A and B, those of a variant without a common seed in the order of their seeds. With
B = published, the runs of A are compared with their rows of config/published, which the config names: this needs the
workflow's folder. The last line has the path of a page with texts and images side by side.
Exit status: 0 if all numbers are equal within rounding, 1 if not, 2 for wrong input.
"""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from hra_results import html_page, prediction_lines
from hra_results.examples import thumbnails
from hra_results.states import compared_states
from hra_results.states.compared_states import Difference, Item, Number, label
from hra_results.states.saved_runs import REMEDY, Run, read_state
from hra_workflow.core import files
from hra_workflow.core.errors import JobError, expect
from hra_workflow.core.wording import listed, plural
from hra_workflow.report import selections

PUBLISHED = "published"
DIFFERENT = 1  # exit status
LINES, GROUPS, SHORT = 20, 3, 100  # in the terminal, maximum lines of a section, groups of items, characters of a text
LONGEST = 4000  # maximum characters of a text on the page
NAME = 60  # maximum characters of a state's name in a path
RULE = (
    f"Two values are equal within rounding if they differ by at most {compared_states.RELATIVE:g} of the value "
    f"(runs_*.csv has six significant digits) or {compared_states.ABSOLUTE:g} (predictions.jsonl.gz has six decimals); "
    "a mean and a published value, if they differ by at most half a unit of its last digit."
)


# What is shown


def section_lines(difference: Difference) -> dict[str, list[str]]:
    """Return the lines of each section, with the runs that they hold for unless these are all."""
    count = difference.common

    def of(runs: list[str]) -> str:
        return f" ({len(runs)} of {plural(count, 'run')}: {listed(runs, 3)})" if len(runs) < count else ""

    sections = difference.sections.items()
    return {section: [f"{line}{of(runs)}" for line, runs in lines.items()] for section, lines in sections}


def columns(one: Number) -> dict[str, str]:
    """Return the cells of a number by heading."""
    before, now = one.values
    return {
        "run": one.run,
        "benchmark": one.benchmark,
        "checkpoint": selections.TITLES.get(one.selection, one.selection),
        "metric": one.metric,
        "A": number(before),
        "B": number(now),
        "B − A": "" if before is None or now is None else signed(now - before),
        "95 % interval": interval(one),
        "p": "" if math.isnan(one.p) else "< 0.001" if one.p < 0.001 else f"{one.p:.3f}",
        "n": (plural(one.seeds, "seed") if one.seeds else "")
        + (f" × {plural(one.difference.items, 'item')}" if one.difference else ""),
    }


def interval(one: Number) -> str:
    """Return the interval, or in brackets why there is none."""
    ends = one.difference.interval if one.difference else (math.nan, math.nan)
    if math.isnan(ends[0]):
        return f"({one.reason or 'too few items'})"
    return f"[{signed(ends[0])}, {signed(ends[1])}]"


def published_columns(one) -> dict[str, str]:
    """Return the cells of a compared_published.Published by heading."""
    from hra_workflow.report import run_statistics

    digits, ours, cell = max(2, one.decimals), one.ours, one.cell
    deviation = "" if math.isnan(ours["std"]) else f" ± {ours['std']:.{digits}f}"
    return {
        "run": cell["run"],
        "column": one.column,
        "A": f"{ours['mean']:.{digits}f}{deviation} (n = {ours['n']:.0f})",
        PUBLISHED: cell["value"],
        f"{PUBLISHED} − A": signed(one.difference, f".{digits}f"),
        "row": f"{cell['method']} {run_statistics.readable(cell['setting'])}".strip(),
        "params (M)": f"{one.params_M}, {PUBLISHED} {cell['params_M'] or '–'}",
        "source": cell["source"],
    }


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.6g}"


def signed(value: float, form: str = ".4g") -> str:
    return f"{value + 0.0:+{form}}".replace("-", "−") if value else "0"


def shown_items(items: list[Item]) -> list[dict]:
    """Return the contents of the page for the items, by run and benchmark."""
    groups: dict[tuple[str, str], list[Item]] = {}
    for one in items:
        groups.setdefault((label([one.runs]), one.benchmark), []).append(one)
    return [
        {"run": run, "benchmark": benchmark, "cards": cards(same, benchmark)}
        for (run, benchmark), same in groups.items()
    ]


def cards(items: list[Item], benchmark: str) -> list[dict]:
    """Return per item the texts that both runs have, and the other texts and the image of each."""
    found = []
    images = [urls([(one.runs[side].folder, one.lines[side]) for one in items], benchmark) for side in (0, 1)]
    for one, *pair in zip(items, *images, strict=True):
        texts = [texts_of(run, benchmark, line) for run, line in zip(one.runs, one.lines, strict=True)]
        common = {name: text for name, text in texts[0].items() if texts[1].get(name) == text}
        own = [{name: text for name, text in some.items() if name not in common} for some in texts]
        sides = [{"texts": some, "url": url} for some, url in zip(own, pair, strict=True)]
        found.append({"seed": one.runs[0].seed, "change": f"{one.change:.3g}", "common": common, "sides": sides})
    return found


def urls(lines: list[tuple[Path, dict]], benchmark: str) -> list[str | None]:
    """Return the generated images of predictions as data URLs, None without one. lines: each with its run's folder."""
    found: list[str | None] = [None] * len(lines)
    for folder in dict.fromkeys(folder for folder, _ in lines):
        places = [place for place, (own, _) in enumerate(lines) if own == folder]
        archive = folder / benchmark / "images.tar"
        if archive.exists():
            for index, url in thumbnails(archive, [lines[place][1] for place in places]).items():
                found[places[index]] = url
    return found


def texts_of(run: Run, benchmark: str, line: dict) -> dict[str, str]:
    """Return the texts of an item by heading."""
    entry = {"columns": [], "labels": None} | (run.record["made_from"]["settings"].get("dataset") or {})
    metrics = list(dict.fromkeys(metric for _, metric in run.values(benchmark)))
    with run.reading(benchmark):
        texts = prediction_lines.example(line, entry | {"metrics": metrics})
    return {
        selections.TITLES.get(name, name): text if len(text) <= LONGEST else f"…{text[-LONGEST:]}"
        for name, text in texts.items()
    }


def print_section(title: str, lines: list[str]) -> None:
    print(f"\n{title}\n" + "".join(f"  {line}\n" for line in lines[:LINES] or ["no difference"]), end="")
    if len(lines) > LINES:
        print(f"  and {len(lines) - LINES} more, on the page")


def print_difference(difference: Difference, groups: list[dict]) -> None:
    for name, state in difference.only.items():
        if state:
            print_section(f"Runs only in {name}", state)
    for section, lines in section_lines(difference).items():
        print_section(f"{section} (A, now B)", lines)
    if difference.failed:
        print_section("Diverged", difference.failed)
    differing = [one for one in difference.numbers if not one.equal]
    print(f"\nNumbers: {len(differing)} of {len(difference.numbers)} differ")
    if differing:
        print(tabulate([columns(one) for one in differing], headers="keys", disable_numparse=True))
    for group in groups[:GROUPS]:
        print(f"\nItems whose answers changed most: {group['run']}, {group['benchmark']}")
        for card in group["cards"]:
            print(f"  seed {card['seed']}, change {card['change']}: {short(card['common'])}")
            for name, side in zip("AB", card["sides"], strict=True):
                print(f"    {name}: {short(side['texts']) or 'the image differs'}")
    if len(groups) > GROUPS:
        print(f"\nThe page has the items of {len(groups) - GROUPS} more runs and benchmarks.")


def short(texts: dict[str, str]) -> str:
    """Return texts on one line, each after its heading."""
    cut = {name: " ".join(text.split())[:SHORT] for name, text in texts.items()}
    return "; ".join(f"{name}: {text}" for name, text in cut.items())


def print_published(found: list) -> None:
    print("Settings, libraries, data and code: not recorded with published numbers; their row is below.")
    print(f"\nNumbers: {sum(not one.equal for one in found)} of {len(found)} differ")
    print(tabulate([published_columns(one) for one in found], headers="keys", disable_numparse=True))


def name_of(states: dict[str, str]) -> str:
    """Return the name of a comparison as a part of a path: that of A, with a digest of both paths."""
    places = {name: str(Path(path).resolve()) for name, path in states.items()}
    digest = hashlib.sha256(json.dumps([places, None]).encode()).hexdigest()
    return re.sub(r"[^\w.-]+", "-", Path(places["A"]).stem or "nothing")[:NAME] + f"-{digest[:8]}"


def show(a: str, b: str, to: str | None, configs: Sequence[str]) -> bool:
    """Print the comparison and write its page; return whether all numbers are equal."""
    given = {"A": a, "B": b}
    page = to or f"diffs/{name_of(given)}.html"
    expect(
        not (to and Path(page).exists()),
        f"--to {page}: expected the path of a new file, found a file. Delete it or pass another path.",
    )
    first = read_state("A", a)
    contents: dict = {"states": given, "rule": RULE, "sections": {}, "failed": [], "only": {}, "groups": []}
    if b == PUBLISHED:
        from hra_results.states import compared_published

        rows = compared_published.compare(first, configs)
        print_published(rows)
        numbers, equal = [published_columns(one) | {"equal": one.equal} for one in rows], all(one.equal for one in rows)
    else:
        found = compared_states.compare_states(first, read_state("B", b))
        groups = shown_items(found.items)
        print_difference(found, groups)
        numbers, equal = [columns(one) | {"equal": one.equal} for one in found.numbers], found.equal
        contents |= {"sections": section_lines(found), "failed": found.failed, "groups": groups, "only": found.only}
    counts = sum(not one["equal"] for one in numbers), len(numbers)
    files.write_text(page, html_page.render("diff", numbers=numbers, counts=counts, **contents))
    print(f"\n{RULE}\nTexts and images side by side: {page}")
    return equal


def run(a: str, b: str, to: str | None = None, configs: Sequence[str] = ()) -> int:
    """Compare two states; return the exit status. Raise JobError for wrong input. configs: those of `published`."""
    try:
        return 0 if show(a, b, to, configs) else DIFFERENT
    except KeyError as missing:  # records are not compared with their schemas without the workflow's folder
        raise JobError(f"expected records of this version with an entry {missing}, found none. {REMEDY}") from missing
