"""Captions of `snakemake --report`."""

from types import SimpleNamespace

import pytest

from support import ROOT


@pytest.mark.parametrize("task", ["glue", "math"])
@pytest.mark.parametrize("caption", sorted((ROOT / "workflow/report").glob("*.rst")), ids=lambda p: p.stem)
def test_captions_render(caption, task, tmp_path, monkeypatch):
    """Render like `snakemake --report`: jinja, then reStructuredText, where mistakes would appear as red text.

    The report may be made from any folder.
    """
    monkeypatch.chdir(tmp_path)
    docutils = pytest.importorskip("docutils.core")
    jinja2 = pytest.importorskip("jinja2")
    config = {"tasks": {"glue": {"model": "deberta", "version": 1}, "other": {"model": "tiny", "version": 2}}}
    text = jinja2.Template(caption.read_text()).render(
        snakemake=SimpleNamespace(
            config=config,
            wildcards=SimpleNamespace(task=task),
            params=SimpleNamespace(captions=ROOT / "workflow/report"),
        )
    )
    assert "{" not in text
    strict = {"halt_level": 2, "report_level": 2}
    assert "<p>" in docutils.publish_string(text, writer="html5", settings_overrides=strict).decode()
