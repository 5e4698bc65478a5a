"""Write the diagrams of README and docs/ as SVG: `python -m benchmarks.diagrams`. A test compares them with this file."""

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
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
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
    """Show LoRA, HRA, and HRA on both sides, with the parameters of one layer."""
    side, top, ranks = 92, 62, 8
    counts = {"LoRA": 2 * ranks * WIDTH, "HRA": ranks * WIDTH, "HRA, both sides": 2 * ranks * WIDTH}
    formulas = {"LoRA": "W + B A", "HRA": "W H", "HRA, both sides": "H_L W H_R"}
    parameters = {"LoRA": "r (in + out)", "HRA": "r in", "HRA, both sides": "r (in + out)"}
    parts = []
    for index, name in enumerate(counts):
        left, middle = 10 + 320 * index, 160 + 320 * index
        parts.append(
            text(middle, 32, f"{name}: {formulas[name].replace('_L', 'ₗ').replace('_R', 'ᵣ')}", 18, weight=600)
        )
        if name == "LoRA":
            parts.append(box(left + 22, top, side, side, "#eef0f2", "W", "frozen"))
            parts.append(text(left + 131, top + 52, "+", 22))
            parts.append(box(left + 150, top, 24, side, GOLD, "B"))
            parts.append(box(left + 182, top + 34, side, 24, GOLD, "A"))
        elif name == "HRA":
            parts.append(box(left + 50, top, side, side, "#eef0f2", "W", "frozen"))
            parts.append(reflections(left + 158, top, side, "H"))
        else:
            parts.append(reflections(left + 2, top, side, "Hₗ"))
            parts.append(box(left + 104, top, side, side, "#eef0f2", "W", "frozen"))
            parts.append(reflections(left + 206, top, side, "Hᵣ"))
        parts.append(text(middle, 188, f"{parameters[name]} parameters", 15))
        parts.append(text(middle, 210, f"{WIDTH} × {WIDTH}, r = {ranks}: {counts[name]:,}", 14, DIM))
    parts.append(
        text(
            480,
            246,
            "H = (I − 2 u₁u₁ᵀ) … (I − 2 uᵣuᵣᵀ), vectors u of length 1: orthogonal, and H − I has rank r at most.",
            15,
        )
    )
    parts.append(text(480, 270, "As many parameters on square layers: r of HRA = 2 × r of LoRA.", 15, weight=600))
    return picture(960, 288, "LoRA adds B A to W; HRA multiplies W by reflections", *parts)


DIAGRAMS = {"methods": methods}


def made() -> dict[Path, str]:
    """Return the files with their texts."""
    return {FOLDER / f"{name}.svg": draw() for name, draw in DIAGRAMS.items()}


if __name__ == "__main__":
    for path, content in made().items():
        path.write_text(content)
