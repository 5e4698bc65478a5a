"""The examples of README.md, config/README.md and docs/from-the-official-code.md can be planned as they stand there.

Those of docs/your-own.md and docs/extending.md are run by test_your_own_page.py and test_extending.py, the library's by
test_package.py.
"""

import re
from itertools import chain

import pytest
import yaml

from support import ROOT

PAGES = ("README.md", "config/README.md", "docs/from-the-official-code.md")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


CONFIGS = {f"{page}-{number}": text for page in PAGES for number, text in enumerate(blocks(page, "yaml"))}
COMMANDS = [
    line.split("#")[0].split() for line in chain.from_iterable(map(str.splitlines, blocks("README.md", "bash")))
]


@pytest.mark.slow
@pytest.mark.parametrize("example", CONFIGS)
def test_a_config_is_planned(fresh, tmp_path, monkeypatch, example):
    (tmp_path / "my_hints.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "example.yaml").write_text(CONFIGS[example])
    targets = [f"results/table_{task}.csv" for task in yaml.safe_load(CONFIGS[example])["tasks"]]
    planned = fresh.plan(*targets, config=str(tmp_path / "example.yaml"))
    assert any(rule.startswith("train_") for rule in planned)


@pytest.mark.slow
def test_the_targets_of_commands_exist(fresh):
    """Those of commands in the repository, with the paper's grid."""
    lines = [
        words for words in COMMANDS if words[:3] == ["snakemake", "--profile", "slurm"] and "--configfile" not in words
    ]
    targets = {word for words in lines for word in words[3:] if not word.startswith("-")}
    assert {"results/table_glue.csv", "sheets", "control_sheets"} <= targets
    fresh.snakemake("-n", "-q", "--", *sorted(targets))


def test_the_targets_and_variables_of_make_exist():
    makefile = (ROOT / "Makefile").read_text()
    lines = [words for words in COMMANDS if words[:1] == ["make"] and "-C" not in words]
    assert lines
    for words in lines:
        for word in words[1:]:
            name, is_variable, _ = word.partition("=")
            if word != "-f" and not word.startswith("/"):
                assert re.search(rf"^{name} \?=" if is_variable else rf"^{name}:.*##", makefile, re.MULTILINE), words
