"""Check prose with proselint and the words of prose.yaml: python .ci/prose.py FILE ...

Prose is Markdown without its code, the comments of other files, and strings of three words or more in Python and JSON:
docstrings, messages and descriptions. Placeholders of the same length replace the rest, so lines and columns are
correct.
"""

import io
import re
import sys
import tokenize
from pathlib import Path

import yaml
from proselint.checks import __register__ as general
from proselint.config import DEFAULT, Config
from proselint.registry import CheckRegistry
from proselint.registry.checks import Check, CheckFlags, Padding, types
from proselint.registry.checks.engine import Fancy
from proselint.tools import LintFile

CONFIG = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
MARKUP = re.compile(
    r"""^[ ]*(?P<fence>```+|~~~+).*?^[ ]*(?P=fence)[ ]*$       # code blocks
    | ``.+?`` | `[^`]+` | \{[^{}\n]*\}                          # code spans, attributes and values of f-strings
    | \]\([^)\n]*\) | ^\[[^]]+\]:.* | https?://\S+              # addresses
    | <!--.*?--> | </?[a-z][^>]*> | \$[^$\n]+\$                 # HTML and formulas
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
COMMENT = re.compile(r"(?:^|(?<=\s))#[#!]*(.*)$", re.MULTILINE)
SENTENCE = re.compile(r'"([^"\n]+ [^"\n]+ [^"\n]+)"')
FSTRING = getattr(tokenize, "FSTRING_MIDDLE", tokenize.COMMENT)  # since Python 3.12; before, an f-string is one string


def hidden(text: str) -> str:
    return re.sub(r"\S", "§", text)


def bare(token: str) -> str:
    return re.sub(r"^#", " ", token).replace('"""', "  ¶").replace('"', " ")


def python(text: str) -> str:
    """Hide code; the tokens of a Snakefile are Python's."""
    starts = [0]
    for line in io.StringIO(text):
        starts.append(starts[-1] + len(line))
    parts, end = [], 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        sentence = token.type == tokenize.STRING and len(token.string.split()) > 2
        if sentence or token.type in {tokenize.COMMENT, FSTRING}:
            first, last = (starts[line - 1] + column for line, column in (token.start, token.end))
            parts += [hidden(text[end:first]), bare(text[first:last])]
            end = last
    return "".join([*parts, hidden(text[end:])])


def groups(pattern: re.Pattern[str], text: str) -> str:
    """Hide everything but the pattern's group."""
    parts, end = [], 0
    for match in pattern.finditer(text):
        parts += [hidden(text[end : match.start(1)]), match[1]]
        end = match.end(1)
    return "".join([*parts, hidden(text[end:])])


def prose(name: str, text: str) -> str:
    """Hide everything in the text of a file but its prose."""
    if name.endswith((".py", ".smk", "Snakefile")):
        text = python(text)
    elif not name.endswith((".md", ".rst")):
        text = groups(SENTENCE if name.endswith(".json") else COMMENT, text)
    return MARKUP.sub(lambda match: hidden(match[0]), text)


def findings(name: str, text: str) -> list[str]:
    """Return one line per finding in the text of a file."""
    if not text:
        return []
    enabled = Config(max_errors=DEFAULT["max_errors"], checks={name: True for name in ["words", *CONFIG["proselint"]]})
    return [
        f"{name}:{line}:{column}: {' '.join(result.message.split())}"
        for result, (line, column) in LintFile(name, prose(name, text)).lint(enabled)
    ]


def register() -> None:
    words = {f"(?<!\\w)(?:{key})(?!\\w)".replace(" ", r"\s+"): advice for key, advice in CONFIG["words"].items()}
    CheckRegistry().register_many(general)
    CheckRegistry().register(
        Check(
            check_type=types.PreferredForms(words, Padding.RAW),
            engine=Fancy(),
            path="words",
            message="expected {0}, found “{1}”.",
            flags=CheckFlags(allow_quotes=True),
        )
    )


register()

if __name__ == "__main__":
    found = [line for name in sys.argv[1:] for line in findings(name, Path(name).read_text(encoding="utf-8"))]
    print(*found, sep="\n")
    sys.exit(bool(found))
