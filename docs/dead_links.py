"""Find the links of a site that lead out of its folder, to a missing file or to a missing place of a page."""

import re
from collections.abc import Iterator
from functools import cache
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

LINKS = re.compile(r'<[^<>]*?\s(?:href|src)="([^"]*)"')
PLACES = re.compile(r'<[^<>]*?\s(?:id|name)="([^"]*)"')


def find(site: Path) -> Iterator[str]:
    """Yield a line for each dead link; those to other sites are not followed."""
    site = site.resolve()
    for page in sorted(site.rglob("*.html")):
        for link in sorted(set(LINKS.findall(page.read_text()))):
            if fault := fault_of(unescape(link), page, site):
                yield f"{page.relative_to(site)}: {link} {fault}"


def fault_of(link: str, page: Path, site: Path) -> str | None:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return "leads to a file of this machine" if parts.scheme == "file" else None
    target = page.parent.joinpath(unquote(parts.path)).resolve() if parts.path else page
    if not target.is_relative_to(site):
        return f"leads out of {site.name}"
    if not target.is_file():
        return "does not exist"
    if parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in places(target):
        return "names a place that the page lacks"
    return None


@cache
def places(page: Path) -> set[str]:
    return {unescape(one) for one in PLACES.findall(page.read_text())}
