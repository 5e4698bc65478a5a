"""The tools in .ci/ and docs/: the size of the project and the links of the site."""

import importlib.util

from support import ROOT


def tool(path: str):
    spec = importlib.util.spec_from_file_location(path.rpartition("/")[2].removesuffix(".py"), ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_size_beyond_its_limit_fails(monkeypatch, capsys):
    size = tool(".ci/size.py")
    monkeypatch.setattr(size, "loaded", lambda scripts: ["Snakefile"])  # the plan takes seconds
    assert size.main() == 0
    monkeypatch.setattr(size, "lines", lambda names: 10**6)
    assert size.main() == 1
    assert capsys.readouterr().out.count("hra, workflow, rules: expected no more than the limit") == 1


def test_a_link(tmp_path):
    dead_links = tool("docs/dead_links.py")
    more = tmp_path / "site/more"
    more.mkdir(parents=True)
    (tmp_path / "hra").mkdir()
    (tmp_path / "hra/layers.py").touch()
    (more / "other page.html").write_text('<p id="caf\u00e9"><a class="back" href="../index.html">')
    faults = {
        "https://example.org/nowhere": None,
        "#here": None,
        "#nowhere": "names a place that the page lacks",
        "more/other%20page.html?v=1#caf\u00e9": None,
        "more/other%20page.html#here": "names a place that the page lacks",
        "more": "does not exist",  # a server shows its index.html, a browser of files does not
        "../hra/layers.py": "leads out of site",
        "file:///etc/hostname": "leads to a file of this machine",
    }
    for link, fault in faults.items():
        (more.parent / "index.html").write_text(f'<p class="a" id="here"><a class="b" href="{link}">…</a>')
        assert list(dead_links.find(more.parent)) == ([f"index.html: {link} {fault}"] if fault else [])
