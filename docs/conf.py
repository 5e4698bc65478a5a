"""The site of these pages, which GitHub shows as well: `make docs` writes it to docs/_build.

Links that leave docs/ lead to the working copy, or with the environment variable REPOSITORY to the files of a published
one (https://github.com/OWNER/hra/blob/main).
"""

import os
import re
from pathlib import Path

from docutils import nodes
from latex2mathml import converter
from sphinx.application import Sphinx
from sphinx.util import logging

DOCS = Path(__file__).parent
REPOSITORY = os.environ.get("REPOSITORY")

project = "HRA"
author = project_copyright = "The HRA reproduction authors"
extensions = ["myst_parser", "sphinx_design"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_fence_as_directive = ["math"]  # GitHub's fence
myst_heading_anchors = 4  # those of GitHub
suppress_warnings = ["misc.highlighting_failure"]  # blocks of csv and jsonl, which GitHub highlights
myst_url_schemes = {"http": None, "https": None, "file-of-repository": {"url": "{{path}}"}}
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_title = "HRA, reproduced"
html_copy_source = False
html_show_sphinx = False


def setup(app: Sphinx) -> None:
    app.connect("source-read", lead_outside)
    app.add_html_math_renderer("mathml", inline_renderers=(write_mathml, None), block_renderers=(write_mathml, None))


def write_mathml(translator: nodes.NodeVisitor, node: nodes.math | nodes.math_block) -> None:
    """Write a formula as MathML, which browsers show without a script or a font from the network."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    translator.body.append(converter.convert(node.astext(), display=display))
    raise nodes.SkipNode


def lead_outside(app: Sphinx, page: str, text: list[str]) -> None:
    """Replace the links of a page that lead out of docs/; a missing file or folder is a warning."""

    def target(link: re.Match) -> str:
        path = (DOCS / page).parent.joinpath(link[0]).resolve()
        if path.is_relative_to(DOCS):
            return link[0]
        if not path.exists():
            logging.getLogger(__name__).warning("%s does not exist", link[0], location=page)
        if REPOSITORY:
            return f"{REPOSITORY}/{path.relative_to(DOCS.parent)}"
        return f"file-of-repository:{os.path.relpath(path, (Path(app.outdir) / page).parent)}"

    text[0] = re.sub(r"(?<=\]\()\.\./[^)#]+", target, text[0])
