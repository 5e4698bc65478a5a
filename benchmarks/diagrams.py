"""Write the diagrams of README and docs/ as SVG: `python -m benchmarks.diagrams`. A test compares the files with it."""

from html import escape
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs/images"
INK, DIM, LINE, BLUE, GOLD, GREEN = "#1d2733", "#5a6675", "#8a96a5", "#e3edf8", "#fdf1dc", "#e4f2e6"
WIDTH = 4096  # of the layer whose parameters are counted


def text(
    x: float, y: float, words: str, size: int = 14, colour: str = INK, anchor: str = "middle", weight: int = 400
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(words)}</text>"
    )


def box(x: float, y: float, width: float, height: float, fill: str, *lines: str, size: int = 14) -> str:
    """Draw a box with a bold line and further lines, all centred."""
    shape = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7" fill="{fill}" stroke="{LINE}"/>'
    first = y + height / 2 + size * 0.35 - (len(lines) - 1) * size * 0.62
    styles = [(size, INK, 600)] + [(size - 2, DIM, 400)] * (len(lines) - 1)
    words = [
        text(x + width / 2, first + index * size * 1.3, line, number, colour, weight=weight)
        for index, (line, (number, colour, weight)) in enumerate(zip(lines, styles, strict=True))
    ]
    return "".join([shape, *words])


def arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    return (
        f'<line x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}" stroke="{DIM}" stroke-width="1.5" '
        'marker-end="url(#head)"/>'
    )


def picture(width: int, height: int, title: str, *parts: str) -> str:
    head = (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{DIM}"/></marker></defs>'
    )
    body = "\n".join([head, f'<rect width="{width}" height="{height}" rx="10" fill="#ffffff"/>', *parts])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="Helvetica, Arial, sans-serif" role="img">\n<title>{escape(title)}</title>\n{body}\n</svg>\n'
    )


def reflections(x: float, y: float, size: float, name: str) -> str:
    """Draw a square that consists of a few thin vectors."""
    lines = "".join(
        f'<line x1="{x + size * (0.3 + 0.2 * k):g}" y1="{y + 8:g}" x2="{x + size * (0.3 + 0.2 * k):g}" '
        f'y2="{y + size - 26:g}" stroke="#2a5d9f" stroke-width="4"/>'
        for k in range(3)
    )
    shape = f'<rect x="{x:g}" y="{y:g}" width="{size:g}" height="{size:g}" rx="7" fill="{BLUE}" stroke="{LINE}"/>'
    return shape + lines + text(x + size / 2, y + size - 8, name, 15, weight=600)


def methods() -> str:
    """Show LoRA and HRA, with the parameters of one layer."""
    side, top, ranks = 92, 62, 8
    titles = {"LoRA: W + B A": (2 * ranks * WIDTH, "r (in + out)"), "HRA: W H": (ranks * WIDTH, "r in")}
    parts = []
    for left, (title, (count, formula)) in zip((20, 380), titles.items(), strict=True):
        parts += [
            text(left + 150, 32, title, 18, weight=600),
            text(left + 150, 188, f"{formula} parameters", 15),
            text(left + 150, 210, f"{WIDTH} × {WIDTH}, r = {ranks}: {count:,}", 14, DIM),
        ]
    parts += [
        box(42, top, side, side, "#eef0f2", "W", "frozen"),
        text(151, top + 52, "+", 22),
        box(170, top, 24, side, GOLD, "B"),
        box(202, top + 34, side, 24, GOLD, "A"),
        box(430, top, side, side, "#eef0f2", "W", "frozen"),
        reflections(538, top, side, "H"),
        text(
            350,
            246,
            "H = (I − 2 u₁u₁ᵀ) … (I − 2 uᵣuᵣᵀ), vectors u of length 1. H is orthogonal, rank(H − I) ≤ r.",
        ),
        text(350, 270, "As many parameters on square layers: r of HRA = 2 × r of LoRA.", 15, weight=600),
    ]
    return picture(700, 288, "LoRA adds B A to W; HRA multiplies W by reflections", *parts)


def pages() -> str:
    """Show which pages each kind of reader needs, in their order."""
    rows = {
        "I train in my own code": ["HRA in your own code", "The library", "The mathematics"],
        "I have data, no code": ["Your own project", "Plan, run, resume", "What you get"],
        "I reproduce the paper": ["A cluster's first hour", "Coming from its code", "GPUs: hours, memory"],
        "I add a task or method": ["Extending", "The config's keys", "Contributing"],
    }
    parts = [text(400 + 215 * k, 28, title, 14, DIM) for k, title in enumerate(("first", "then", "when you need it"))]
    for index, (reader, names) in enumerate(rows.items()):
        y = 44 + 62 * index
        parts.append(box(16, y, 230, 46, GOLD, reader))
        for k, name in enumerate(names):
            x = 300 + 215 * k
            parts += [
                arrow(x - 54 if k == 0 else x - 30, y + 23, x - 3, y + 23),
                box(x, y, 185, 46, BLUE, name, size=13),
            ]
    return picture(960, 300, "Which page for whom", *parts)


def run() -> str:
    """Show the jobs of one run, from its downloads to the tables."""
    steps = {
        "download": (16, 30, BLUE, ("download", "model, data: SHA-256")),
        "augment": (226, 30, BLUE, ("augment", "the initial adapter")),
        "tune": (436, 120, "#ffffff", ("tune (optional)", "trials, equal budgets")),
        "hints": (226, 120, "#ffffff", ("hints, class images", "images only")),
        "train": (436, 30, GREEN, ("train", "resumes if killed")),
        "generate": (646, 30, GREEN, ("generate", "answers, images")),
        "evaluate": (646, 120, GREEN, ("evaluate", "a score per item")),
        "runs": (436, 210, GOLD, ("runs_*.csv", "every score, its origin")),
        "compare": (226, 210, GOLD, ("compare_*.csv", "pairs, intervals")),
        "tables": (16, 210, GOLD, ("table_*.csv, figures", "and the paper's numbers")),
    }
    parts = [box(x, y, 176, 54, fill, *lines) for x, y, fill, lines in steps.values()]
    right, down, left = (176, 27, 207, 27), (88, 54, 88, 87), (-3, 27, -31, 27)
    moves = {"download": right, "augment": right, "train": right, "generate": down, "runs": left, "compare": left}
    parts += [
        arrow(steps[n][0] + a, steps[n][1] + b, steps[n][0] + c, steps[n][1] + d) for n, (a, b, c, d) in moves.items()
    ]
    parts += [
        arrow(524, 120, 524, 87),
        arrow(402, 130, 446, 87),
        arrow(612, 84, 643, 130),
        text(668, 102, "GLUE", 12, DIM),
    ]
    parts += [
        arrow(734, 174, 615, 225),
        text(846, 62, "adapter", 12, DIM, "start"),
        text(846, 152, "metrics.json", 12, DIM, "start"),
    ]
    parts.append(
        text(
            480,
            290,
            "Jobs in blue and green leave files; tables and figures are derived from them in seconds.",
            14,
            DIM,
        )
    )
    return picture(960, 308, "The jobs of one run", *parts)


def results() -> str:
    """Show the folder of results as a tree, with what a deletion repeats."""
    rows = [
        (0, "results/", ""),
        (1, "table_glue.csv, .md", "the table, when you request it"),
        (1, "runs_glue.csv", "it, and what is made from it"),
        (1, "compare_glue.csv, figures/, sheets/", "these files only"),
        (1, "glue/cola/hra/r8/seed0/", "the run: training, evaluation, tables"),
        (2, "train.json, last/, best/", "the training, and what follows"),
        (2, "validation/metrics.json", "the evaluation, the tables"),
        (2, "validation/predictions.jsonl.gz", "the evaluation, the same scores"),
        (0, "scratch/, logs/", "nothing; unfinished training starts over"),
    ]
    parts = [
        text(20, 28, "file", 14, DIM, "start"),
        text(480, 28, "after you delete it, the next command makes", 14, DIM, "start"),
    ]
    for index, (depth, name, repeats) in enumerate(rows):
        y = 58 + 30 * index
        fill = f'<rect x="8" y="{y - 20}" width="944" height="28" rx="5" fill="{BLUE if index % 2 else "#ffffff"}"/>'
        parts += [
            fill,
            text(20 + 30 * depth, y, name, 15, anchor="start", weight=600),
            text(480, y, repeats, 14, anchor="start"),
        ]
    return picture(960, 330, "The folder of results, and what a deletion repeats", *parts)


DIAGRAMS = {"methods": methods, "pages": pages, "run": run, "results": results}


def made() -> dict[Path, str]:
    """Return the files with their texts."""
    return {FOLDER / f"{name}.svg": draw() for name, draw in DIAGRAMS.items()}


if __name__ == "__main__":
    for path, content in made().items():
        path.write_text(content)
