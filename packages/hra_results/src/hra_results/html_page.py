"""Parts of a self-contained HTML page: Markdown tables, embedded images, small curves, and the page itself."""

import base64
import io
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup
from PIL import Image

PAGE = Path(__file__).with_name("page")
LARGEST = 16383  # pixels per side of a WebP image


def render(page: str = "report", **contents) -> str:
    """Fill page/{page}.html, including the style sheet and the script; every text is escaped."""
    parts = {name: Markup((PAGE / f"report.{name}").read_text()) for name in ("css", "js")}
    return template(f"{page}.html", autoescape=True).render(**parts, **contents)


def template(name: str, autoescape: bool = False):
    """Return a template of page/."""
    own = {"autoescape": autoescape, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    return Environment(loader=FileSystemLoader(PAGE), **own).get_template(name)


def markdown(text: str, level: int) -> Markup:
    """Convert Markdown to HTML; its headings start at `level`, and a wide table scrolls."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("table_open", lambda *_: '<div class="scroll" tabindex="0"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = parser.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{int(token.tag[1]) + level - 1}"
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def image(source: str | Path | Image.Image, side: int = LARGEST, quality: int = 80) -> str:
    """Encode an image as a data URL, at most `side` pixels wide and high."""
    if isinstance(source, Image.Image):
        picture = source.convert("RGB")
    else:
        with Image.open(source) as opened:
            picture = opened.convert("RGB")
    picture.thumbnail((side, side))
    stream = io.BytesIO()
    picture.save(stream, "webp", quality=quality, method=4)
    return data_url("image/webp", stream.getvalue())


def drawing(path: str | Path) -> dict:
    """Return the `url` of an SVG file as data, and its `width` in pixels.

    Inside an `img`, its identifiers and scripts do not affect the page.
    """
    content = Path(path).read_bytes()
    points = re.search(rb'<svg[^>]* width="([\d.]+)pt"', content)
    return {"url": data_url("image/svg+xml", content), "width": round(float(points[1]) * 4 / 3) if points else 0}


def sheet(path: str | Path) -> dict:
    """Return the `url` of an image as data, and its `width`."""
    with Image.open(path) as opened:
        return {"url": image(path), "width": min(opened.width, LARGEST)}


def data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def polyline(values: list[float], width: int = 240, height: int = 48, points: int = 120) -> str:
    """Return the `points` of an SVG polyline of evenly spaced values; long series are thinned."""
    chosen = values[:: max(1, len(values) // points)]
    low, high = min(chosen), max(chosen)
    step = width / max(1, len(chosen) - 1)
    scaled = [(value - low) / (high - low) if high > low else 0.5 for value in chosen]
    return " ".join(f"{index * step:.1f},{2 + (1 - y) * (height - 4):.1f}" for index, y in enumerate(scaled))
