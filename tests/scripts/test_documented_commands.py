"""Every command in the documentation can be resolved: its program, target, options, files and names exist.

Targets that Snakemake options swallow are tested by test_commands.py; examples that are run, by test_package.py,
test_your_own_walk.py and test_dag.py.
"""

import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from snakemake.cli import get_argument_parser

import packages
from hra.__main__ import build_parser
from hra_workflow import tasks
from hra_workflow.commands import main, parameters
from support import ROOT, paper_config
from test_pages import PAGES

INLINE = re.compile(r"(?<!`)`((?:make|hra|hra-workflow|python|pip|snakemake) [^`]*)`(?!`)")
PROJECTS = [tomllib.loads((ROOT / name / "pyproject.toml").read_text())["project"] for name in ("", "workflow")]
EXTRAS = {extra for project in PROJECTS for extra in project["optional-dependencies"]}
MAKEFILE = "".join(path.read_text() for path in [ROOT / "Makefile", *sorted(ROOT.glob("[ps]*/*/targets.mk"))])
SNAKEMAKE = "".join(path.read_text() for path in [ROOT / "Snakefile", *(ROOT / "rules").rglob("*.smk")])
RULES = {*re.findall(r"^ *(?:local)?rule (\w+):", SNAKEMAKE, re.MULTILINE), *re.findall(r"as (\w+) with:", SNAKEMAKE)}
CONFIG = paper_config()
RUNS = [f"{method}/{variant}" for method, entry in CONFIG["methods"].items() for variant in entry["variants"]]
TASKS = tasks.load(CONFIG)
NAMES = {"table": {name for task in TASKS.values() for name in task.tables()} | {"tones"}}  # of docs/extending.md
NAMES["profile"] = {name for path in (ROOT / "profiles").iterdir() for name in (path.name, f"profiles/{path.name}")}
OF_THE_USER = (
    r"mine|other\.yaml|reviews|faces|mug|rooms|questions|new\.|prompts\.|photos|maps|folder|answers|outputs"
    r"|archive|copied/|config\.yaml$"
)
PLACEHOLDER = re.compile(rf"[A-Z]+$|.*[…{{<*$[]|{OF_THE_USER}|\.\./(?:shared|old)/|(?:old/)?results$|~/|/opt/hra$")


def exists(path: str) -> bool:
    """Return whether a path exists, of this repository or of its installation in /opt/hra, or stands for the user's."""
    file = ROOT / path.removeprefix("/opt/hra/")
    return bool(PLACEHOLDER.match(path)) or file.exists() or packages.is_deleted(file)


def make(words: list[str]) -> bool:
    names = [re.escape(word.partition("=")[0]) for word in words if word not in ("-C", "/opt/hra")]
    return all(re.search(rf"^{name}( \?=|:.*##)", MAKEFILE, re.MULTILINE) for name in names)


def workflow(words: list[str]) -> bool:
    name, *rest = words
    found = main.commands.get_command(click.Context(main.commands), name)
    if found is None and not name.startswith("-"):
        return name in packages.COMMANDS or bool(PLACEHOLDER.match(name))  # of a package that is not installed
    command, given = (found, rest) if found else (main.commands, words)
    context = click.Context(command)
    try:
        values, left, _ = command.make_parser(context).parse_args([*given])
        right = not left
        for parameter in command.get_params(context):
            value = values.get(parameter.name)
            stated = [one for one in (value if isinstance(value, tuple | list) else [value]) if isinstance(one, str)]
            right &= bool(stated or not parameter.required or not rest or "help" in values)
            right &= all(PLACEHOLDER.match(one) or is_one(one, parameter, context) for one in stated)
    except click.UsageError:
        return False
    return right


def is_one(value: str, parameter: click.Parameter, context: click.Context) -> bool:
    """Return whether a value is one of an argument or option; raise click.UsageError if click says so."""
    if isinstance(parameter.type, click.Path):
        is_read = parameter.type.exists or parameter.name == "project"
        return value == parameters.DEMO or not is_read or exists(value)
    if parameter.name in NAMES:
        return value in NAMES[parameter.name]
    if parameter.name == "run":
        return is_made(value)
    parameter.type.convert(value, parameter, context)
    return True


def snakemake(words: list[str]) -> bool:
    found = get_argument_parser().parse_args(words)
    files = filter(None, [found.snakefile, *(found.profile or []), *(found.configfile or [])])
    return all(map(is_made, found.targets)) and all(exists(str(path)) for path in files)


def is_made(target: str) -> bool:
    """Return whether a target is a rule, a table, or below the folder of a run of the config."""
    if table := re.fullmatch(r"(?:(?:reviews/)?results/)?table_(\w+)(?:\.csv)?", target):
        return table[1] in NAMES["table"]
    of_another_snakefile = target.startswith("resources/pretrained/")
    return (
        of_another_snakefile
        or target in {*RULES, *TASKS, "all"}
        or (ROOT / target).exists()
        or any(run in target for run in RUNS)
    )


def hra(words: list[str]) -> bool:
    (commands,) = (action.choices for action in build_parser()._actions if action.choices)
    return words[0] in commands and (len(words) == 1 or bool(build_parser().parse_args(words)))


def python(words: list[str]) -> bool:
    if words[0] == "-m":
        return words[1].partition(".")[0] in packages.DELETED or find_spec(words[1]) is not None
    return words[0] == "-c" or exists(words[0])


def pip(words: list[str]) -> bool:
    extras = {extra for word in words if "[" in word for extra in word.rstrip("]").partition("[")[2].split(",")}
    return extras <= EXTRAS and all(exists(word.partition("[")[0]) for word in words if word.startswith("./"))


PROGRAMS = {"make": make, "snakemake": snakemake, "hra": hra, "hra-workflow": workflow, "python": python, "pip": pip}
# Not checked:
OTHERS = {"source", "cd", "cp", "export", "grep", "head", "ls", "tail", "tar"}  # of the shell and the system
OTHERS |= {"apptainer", "docker", "gh", "git", "pre-commit", "pytest", "python3", "twine"}
RUN_BY_TESTS = "docs/your-own-code.md"  # tests/tools runs its blocks


def commands(page: str) -> Iterator[list[str]]:
    """Yield the commands of a page as words: those of its blocks, and those in its sentences."""
    text = (ROOT / page).read_text()
    functions = set(re.findall(r"^(\w+)\(\) \{", text, re.MULTILINE))  # of the block itself
    blocks = [] if page == RUN_BY_TESTS else re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r"(\\|&&)\n", r" ", block).splitlines()]
    sentences = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines += [" ".join(found.split()) for found in INLINE.findall(sentences)]
    for line in lines:
        words = shlex.split(line, comments=True)
        while words:
            end = next((index for index, word in enumerate(words) if word in ("&&", "|", ";", "||")), len(words))
            command, words = words[:end], words[end + 1 :]
            while command and re.match(r"[A-Z_]+=", command[0]):
                del command[0]
            if command and command[0].removesuffix("()") not in functions:
                yield command


@pytest.mark.parametrize("page", [page for page in PAGES if not page.endswith("CHANGELOG.md")])  # the past
def test_the_commands_of_a_page_exist(page):
    assert not [command for command in commands(page) if not is_known(*command)]


def is_known(program: str, *words: str) -> bool:
    name = Path(program).name or "source"  # the dot
    try:
        return name in OTHERS or not words or PROGRAMS[name]([*words])
    except (KeyError, SystemExit):  # of a parser
        return False


@pytest.mark.parametrize(
    "command",
    [
        "make plann",
        "hra-workflow plan --tabel glue",
        "hra-workflow plan --table gleu",
        "hra-workflow run config/gone.yaml",
        "hra-workflow export --run results/glue/cola/hra/r9/seed0",
        "hra-workflow new --task math",
        "snakemake results/glue/cola/hra/r9/seed0/train.json",
        "hra rewind ADAPTER OUT 0.5",
        "python workflow/scripts/gone.py",
        "pip install '.[clj]'",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command):
    assert not is_known(*shlex.split(command))


@pytest.mark.parametrize("name", list(main.commands.commands))
def test_the_examples_of_a_help_text_are_commands(name):
    _, *lines = (main.commands.commands[name].epilog or "").splitlines()
    examples = [shlex.split(line) for line in lines if line.startswith("  hra-workflow ")]
    assert examples and all(is_known(*words) for words in examples)
