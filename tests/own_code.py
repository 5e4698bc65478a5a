"""The code of docs/your-own-code.md, its blocks and the files of docs/recipes, which tests/tools and tests/hra run."""

import re

from support import ROOT

PAGE = ROOT / "docs/your-own-code.md"


def sections() -> dict[str, str]:
    """Return the text of every section of the page by its heading."""
    return dict(re.findall(r"^##+ (.*?)\n(.*?)(?=^##|\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE))


def blocks(section: str, language: str = "python") -> list[str]:
    """Return the code blocks of one section in order; unpack them, so that a block that no test runs is an error."""
    return re.findall(rf"```{language}\n(.*?)```", sections()[section], re.DOTALL)


def recipe(name: str) -> str:
    """Return the content of a file that the page links to."""
    assert f"(recipes/{name})" in PAGE.read_text()
    return (PAGE.parent / "recipes" / name).read_text()
