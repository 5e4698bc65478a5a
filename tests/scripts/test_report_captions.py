"""Captions of `snakemake --report`."""

from types import SimpleNamespace

import docutils.core
import jinja2
import pytest

from support import ROOT


@pytest.mark.parametrize("task", ["glue", "math"])
@pytest.mark.parametrize("caption", sorted((ROOT / "workflow/report").glob("*.rst")), ids=lambda p: p.stem)
def test_captions_render(caption, task, tmp_path, monkeypatch):
    """Render like `snakemake --report` in any folder: jinja, then reStructuredText, whose mistakes are errors here."""
    monkeypatch.chdir(tmp_path)
    config = {"tasks": {"glue": {"model": "deberta", "version": 1}, "other": {"model": "tiny", "version": 2}}}
    params = SimpleNamespace(captions=ROOT / "workflow/report")
    given = SimpleNamespace(config=config, wildcards=SimpleNamespace(task=task), params=params)
    text = jinja2.Template(caption.read_text()).render(snakemake=given)
    assert "{" not in text
    strict = {"halt_level": 2, "report_level": 2}
    assert "<p>" in docutils.core.publish_string(text, writer="html5", settings_overrides=strict).decode()
