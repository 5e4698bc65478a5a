"""Warnings of versions outside of the tested range, and of PEFT's own layers where this package's are expected."""

import re
import tomllib
import warnings
from importlib import metadata

import peft
import pytest
import torch
from sidebyside import Net, adapt

import hra
from hra import checks
from support import ROOT


@pytest.fixture(autouse=True)
def forget():
    """Warn as in a new process."""
    checks._warn.cache_clear()


def warned(function, *arguments) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        function(*arguments)
    return [str(one.message) for one in found if "hra" in str(one.message)]


# Versions

LLAMA_FACTORY = {"transformers": "5.6", "trl": "0.24"}  # in its environment (tests/tools/test_versions.py)


def test_the_ranges_are_those_of_the_requirements_the_page_and_the_installed_versions():
    library, workflow = (tomllib.loads((ROOT / p).read_text()) for p in ("pyproject.toml", "workflow/pyproject.toml"))
    requirements = [*library["project"]["dependencies"], *workflow["project"]["dependencies"]]
    groups = library["dependency-groups"]
    requirements += [one for name in ("library-tests", "dev") for one in groups[name] if isinstance(one, str)]
    lowest = dict(re.findall(r"^([a-z-]+)>=([\d.]+)", "\n".join(requirements), re.MULTILINE))
    oldest = dict(re.findall(r"^(\w+)==(\d+\.\d+)", (ROOT / "envs/oldest.txt").read_text(), re.MULTILINE))
    page = (ROOT / "docs/library.md").read_text().partition("## Versions")[2].partition("## ")[0]
    page = " ".join(page.lower().split())
    for name, (first, last) in checks.TESTED.items():
        assert first == LLAMA_FACTORY.get(name, lowest[name]) == oldest.get(name, first), name
        assert f"{name} {first} to {last}" in page or (first == last and re.search(rf"{name} {first}\b(?! to)", page))
    assert set(oldest) <= set(checks.TESTED)
    installed = {one.name: one.version for one in metadata.distributions() if one.name in checks.TESTED}
    for name, version in installed.items():
        # If it is newer than the last one: run all tests of `make compat`, then extend the range and the page.
        first, last = map(checks._minor, checks.TESTED[name])
        assert "dev" in version or first <= checks._minor(version) <= last, f"{name} {version}"


@pytest.mark.parametrize("version", ["0.18.0", "0.21.3.dev0", "0.21.2+local", "0.21rc1"])
def test_versions_within_the_range_give_no_warning(version, monkeypatch):
    monkeypatch.setattr(peft, "__version__", version)
    assert warned(checks.check_versions) == []


def test_versions_outside_of_the_range_are_one_line_once(monkeypatch):
    monkeypatch.setattr(peft, "__version__", "0.22.0.dev0")
    monkeypatch.setattr(torch, "__version__", "3.0.1+cpu")
    monkeypatch.setitem(checks.TESTED, "absent-package", ("1.0", "2.0"))
    monkeypatch.setitem(checks.TESTED, "safetensors", ("99.1", "99.1"))
    hra.uninstall()
    (message,) = warned(hra.install)
    assert "not tested with torch 3.0.1+cpu (tested: 2.9 to 2.15), peft 0.22.0.dev0 (tested: 0.18 to 0.21)," in message
    assert re.search(r"safetensors [\d.]+ \(tested: 99.1\)\. Install", message) and "\n" not in message
    hra.uninstall()
    assert warned(hra.install) == []


# PEFT's own layers


@pytest.mark.parametrize("use", [hra.orthogonality_penalty, hra.to_lora])
def test_functions_warn_of_PEFTs_own_layers_once(use):
    stock, ours = adapt(Net(), stock=True), adapt(Net())
    assert warned(use, ours) == []
    (message,) = warned(use, stock)
    assert "found PEFT's own, slower ones in base_model.model.conv and 2 more." in message
    assert [one for one in warned(use, adapt(Net(), stock=True)) if "expected" in one] == []
