"""The site of these pages, which GitHub shows as well: `make docs` writes it to docs/_build.

The site needs no other files: what its pages link to outside docs/ is on the site too. Text pages are symbolic links in
docs/ (contributing.md), source files are shown on separate pages; with the environment variable REPOSITORY, links
to source files lead to those of a published repository instead (https://github.com/OWNER/hra/blob/main).
"""

import os
import re
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

from docutils import nodes
from latex2mathml import converter
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.application import Sphinx
from sphinx.util import logging

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))
import dead_links  # noqa: E402

ROOT = DOCS.parent
REPOSITORY = os.environ.get("REPOSITORY")
TEXTS = {path.resolve(): path for path in DOCS.rglob("*.md") if path.is_symlink()}
# The navigation: captions with their pages, and pages below another one. In a page, GitHub would show such a list.
NAVIGATION = {
    "Start": ["questions", "your-own"],
    "How to": ["your-own-code", "running", "cluster", "extending", "from-the-official-code"],
    "Reference": ["config/readme", "results", "results-contract", "reruns", "library", "api"],
    "Explanation": ["mathematics", "statistics", "benchmarks"],
    "Packages and studies": [
        f"{kind}/{page.stem}"
        for kind in ("packages", "studies")
        for page in sorted(DOCS.glob(f"{kind}/*.md"))
        if page.exists()  # not a link to a deleted folder
    ],
    "Project": ["contributing", "changelog"],
}
BELOW = {"config/readme": ["tasks", "math", "subject", "control", "models", "methods"]} | {
    f"{folder.parent.name}/{folder.name}": [f"{folder.name}/{page.stem}" for page in sorted(folder.glob("*.md"))]
    for kind in ("packages", "studies")
    for folder in (DOCS / kind).glob("*/")
}
UNLISTED = {"upstream"}  # which few readers need; a page links to it
# Of Markdown or an HTML image; not to another site, nor within the page.
LINK = re.compile(r'(?:\]\(|(?P<image><img src="))(?![a-z]+:|#)(?P<path>[^)#"\s]+)(?:#(?P<place>[^)"\s]+))?')
IMAGES = (".png", ".svg")
FEW = 2  # columns that a narrow screen has room for
MOST = 60  # files of a folder that are shown; of more, only the names

project = "HRA"
author = project_copyright = "The HRA reproduction authors"
extensions = ["myst_parser", "sphinx_design"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_fence_as_directive = ["math"]  # GitHub's fence
myst_heading_anchors = 4  # those of GitHub
suppress_warnings = ["misc.highlighting_failure"]  # blocks of csv and jsonl, which GitHub highlights
myst_url_schemes = {"http": None, "https": None, "page": {"url": "{{path}}"}, "place": {"url": "{{path}}#{{fragment}}"}}
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_title = "HRA: workflow and library"
html_copy_source = False
html_show_sphinx = False


def setup(app: Sphinx) -> None:
    app.connect("source-read", lead_outside)
    app.connect("doctree-resolved", label_cells)
    app.connect("html-collect-pages", source_pages)
    app.connect("build-finished", report_dead_links)
    app.add_html_math_renderer("mathml", inline_renderers=(write_mathml, None), block_renderers=(write_mathml, None))


def write_mathml(translator: nodes.NodeVisitor, node: nodes.math | nodes.math_block) -> None:
    """Write a formula as MathML, which browsers show without a script or a font from the network."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    translator.body.append(converter.convert(node.astext(), display=display))
    raise nodes.SkipNode


def file_of(page: str) -> Path:
    return (DOCS / f"{page}.md").resolve()


def is_source(path: Path) -> bool:
    """Return whether a linked file has no page or image in docs/."""
    return path not in TEXTS and not path.is_relative_to(DOCS) and path.suffix not in IMAGES


def lead_outside(app: Sphinx, page: str, text: list[str]) -> None:
    """Replace the links of a page that lead out of docs/; a missing file or folder is a warning."""
    file, here = file_of(page), (DOCS / page).parent

    def target(link: re.Match) -> str:
        path = file.parent.joinpath(link["path"]).resolve()
        place = f"#{link['place']}" if link["place"] else ""
        if not path.exists():
            logging.getLogger(__name__).warning("%s does not exist", link["path"], location=page)
        if link["image"]:
            return link["image"] + os.path.relpath(DOCS / "_images" / path.name, here)
        if path.suffix in IMAGES and not path.is_relative_to(DOCS):
            return f"]({os.path.relpath(path, here)}"
        if path in TEXTS:  # as HTML, since MyST follows symbolic links
            return on_site(os.path.relpath(TEXTS[path].with_suffix(".html"), here), place)
        if path.is_relative_to(DOCS):
            return f"]({os.path.relpath(path, here)}{place}"
        if REPOSITORY:
            return f"]({REPOSITORY}/{path.relative_to(ROOT)}{place}"
        return on_site(f"{os.path.relpath(DOCS / source_page(path), here)}.html", place)

    if file.parent == ROOT:  # badges show the state of the repository on GitHub
        text[0] = re.sub(r"^\[!\[.*\n", "", text[0], flags=re.MULTILINE)
    text[0] = LINK.sub(target, text[0])
    lists = {"": [f"{Path(page).parent / name}" for name in BELOW.get(page, ())]}
    for caption, pages in (NAVIGATION if page == "index" else lists).items():
        shown = "\n".join(f"/{name}" for name in pages if name not in UNLISTED)
        option = f":caption: {caption}\n" * bool(caption)
        text[0] += f"\n\n```{{toctree}}\n:hidden:\n{option}\n{shown}\n```\n" * bool(shown)
    if page in UNLISTED:
        text[0] = f"---\norphan: true\n---\n\n{text[0]}"


def on_site(path: str, place: str) -> str:
    return f"]({'place' if place else 'page'}:{path}{place}"


def source_page(path: Path) -> str:
    return f"source/{path.relative_to(ROOT)}"


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict, str]]:
    """Make a page of each source file and folder that a page links to, and of the text files of these folders."""
    if REPOSITORY:
        return
    linked = {
        file.parent.joinpath(link["path"]).resolve()
        for file in map(file_of, app.env.found_docs)
        for link in LINK.finditer(file.read_text())
    }
    linked = {path for path in linked if path.exists() and is_source(path)}
    inside = {folder: shown_files(folder) for folder in linked if folder.is_dir()}
    shown = linked.union(*(paths for paths in inside.values() if len(paths) <= MOST))
    for path in sorted(shown):
        title = f"{path.relative_to(ROOT)}"
        if path.is_dir():
            links = {one: f'<a href="{path.name}/{one.name}.html">{one.name}</a>' for one in shown & {*inside[path]}}
            items = (f"<li>{links.get(one, one.name)}</li>" for one in inside[path])
            body = f"<ul>{''.join(items)}</ul>"
        else:
            body = app.builder.highlighter.highlight_block(path.read_text(), lexer_of(path))
        yield source_page(path), {"title": title, "body": f"<h1>{escape(title)}</h1>{body}", "parents": []}, "page.html"


def shown_files(folder: Path) -> list[Path]:
    """List the text files in a folder."""
    return [path for path in sorted(folder.iterdir()) if path.is_file() and b"\0" not in path.read_bytes()]


def lexer_of(path: Path) -> str:
    if path.suffix == ".smk" or path.name == "Snakefile":
        return "python"
    try:
        return get_lexer_for_filename(path.name).aliases[0]
    except ClassNotFound:
        return "text"


def label_cells(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Put the column's name into each cell of wide tables: static/site.css stacks the cells on a narrow screen."""
    for table in doctree.findall(nodes.table):
        heads = [entry.astext() for head in table.findall(nodes.thead) for entry in head.findall(nodes.entry)]
        if len(heads) > FEW:
            table["classes"].append("stacked")
            for row in (row for body in table.findall(nodes.tbody) for row in body.findall(nodes.row)):
                for name, entry in zip(heads, row.children, strict=True):
                    entry.insert(0, nodes.inline("", name, classes=["column"]))


def report_dead_links(app: Sphinx, failure: Exception | None) -> None:
    for line in dead_links.find(Path(app.outdir)) if failure is None else ():
        logging.getLogger(__name__).warning(line)
