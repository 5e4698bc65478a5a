"""The examples of README.md, config/README.md and docs/from-the-official-code.md are valid as they stand there.

Those of docs/your-own.md and docs/extending.md are tested by test_your_own_page.py and test_extending.py, the library's
by test_package.py, the README's commands of Snakemake by test_dag.py.
"""

import re

import pytest
import yaml
from snakemake.utils import update_config

from common.planning import config_validation, overlays
from support import ROOT, paper_config

PAGES = ("README.md", "config/README.md", "docs/from-the-official-code.md")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


CONFIGS = {f"{page}-{number}": text for page in PAGES for number, text in enumerate(blocks(page, "yaml"))}


@pytest.mark.parametrize("example", CONFIGS)
def test_a_config_is_valid(tmp_path, monkeypatch, example):
    (tmp_path / "my_hints.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    config, stated = paper_config(), yaml.safe_load(CONFIGS[example])
    update_config(config, stated)
    chosen = overlays.settle(config, [stated])
    config_validation.check(config)
    assert set(chosen) & set(stated["tasks"])


def test_the_targets_and_variables_of_make_exist():
    makefile, words_of_lines = (ROOT / "Makefile").read_text(), []
    for text in blocks("README.md", "bash"):
        words_of_lines += [line.split("#")[0].split() for line in text.splitlines()]
    lines = [words for words in words_of_lines if words[:1] == ["make"] and "-C" not in words]
    assert lines
    for words in lines:
        for word in words[1:]:
            name, is_variable, _ = word.partition("=")
            if word != "-f" and not word.startswith("/"):
                assert re.search(rf"^{name} \?=" if is_variable else rf"^{name}:.*##", makefile, re.MULTILINE), words
