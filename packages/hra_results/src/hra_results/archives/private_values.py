"""Values that name a user's machine (paths, accounts, hosts, tokens) and their replacement in texts.

A path below a folder that the workflow uses becomes relative: `/scratch/me/results/glue` becomes `results/glue`. Any
other value becomes its kind: `PATH`, `ACCOUNT`, `HOST`, `TOKEN`.
"""

import contextlib
import getpass
import os
import platform
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

# Folders in which users keep their files; a path that begins with another one is a part of a URL or of a text.
TOP = (
    "home|Users|root|mnt|media|scratch|gpfs|lustre|work|data|projects?|nfs|export|srv|tmp|var|opt|storage|private|"
    "Volumes"
)
OTHER_PATH = re.compile(rf"(?<![\w.<>:/~-])/(?:{TOP})/[^\s\"'<>`,;:)\]\\]+")
TOKEN = r"\b(?:hf_\w{16,}|gh[opsur]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|sk-[\w-]{16,}|AKIA[0-9A-Z]{16})"
DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
# Names of environment variables
SECRETS = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY|ACCESS_?KEY")
ACCOUNTS = re.compile(r"USER|LOGNAME|(HRA_)?SLURM_(JOB_)?ACCOUNT\w*|SBATCH_ACCOUNT|WANDB_ENTITY")
HOSTS = re.compile(r"HOSTNAME|SLURM_SUBMIT_HOST|SLURMD_NODENAME")
CACHES = ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "TORCH_HOME", "XDG_CACHE_HOME", "TMPDIR")
# These name no one, and are words of texts.
COMMON = {"root", "user", "admin", "ubuntu", "debian", "runner", "jovyan", "nobody", "localhost", "slurm", "node"}
SHORTEST = 3  # characters of an account or host that is replaced
SECRET_LENGTH = 8  # characters of the value of such an environment variable that is replaced


@dataclass
class Replacements:
    """The values to replace.

    folders: path -> name in the archive, which is "" for the archive itself. names: account or host -> its kind.
    tokens: values. digests: SHA-256 of a content -> that of the content with replacements.
    """

    folders: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)

    @cached_property
    def patterns(self) -> list[tuple[str, re.Pattern, str | Callable[[re.Match], str]]]:
        """Return kind, pattern and replacement, for use after the last change of folders, names and tokens."""
        found = [("token", re.compile("|".join([*escaped(self.tokens), TOKEN])), "TOKEN")]
        if self.folders:
            begin = {True: "", False: "(?<!/)"}  # of an absolute and of a relative path
            pieces = "|".join(begin[one.startswith("/")] + re.escape(one) for one in longest(self.folders))
            found.append(("folder", re.compile(rf"(?<![\w.-])({pieces})(?![\w-]|\.\w)(/?)"), self.relative))
        found.append(("path", OTHER_PATH, "PATH"))
        for kind in sorted({*self.names.values()}):
            pieces = "|".join(escaped(name for name in self.names if self.names[name] == kind))
            # + as in base64: the report contains images.
            found.append((kind, re.compile(rf"(?<![A-Za-z0-9+])(?:{pieces})(?![A-Za-z0-9+])"), kind.upper()))
        return found

    def relative(self, match: re.Match) -> str:
        name = self.folders[match[1]]
        return name + match[2] if name else "" if match[2] else "."

    def text(self, text: str, counts: Counter | None = None) -> str:
        """Replace the values in a text, and count the replacements by kind."""
        for kind, pattern, replacement in self.patterns:
            text, times = pattern.subn(replacement, text)
            if times and counts is not None:
                counts[kind] += times
        return DIGEST.sub(lambda match: self.digests.get(match[0], match[0]), text)

    def value(self, value, counts: Counter | None = None):
        """Replace the values in all texts, also keys, of a value of JSON types."""
        if isinstance(value, str):
            return self.text(value, counts)
        if isinstance(value, Mapping):
            return {self.value(key, counts): self.value(item, counts) for key, item in value.items()}
        return [self.value(item, counts) for item in value] if isinstance(value, list | tuple) else value

    def add_outside(self, paths: Iterable[str]) -> None:
        """Name the folders of files that are in none of the known ones."""
        for path in paths:
            known = any(path.startswith(f"{folder}/") for folder in self.folders)
            if path.startswith(("/", "..")) and not known:
                self.folders[os.path.dirname(path)] = f"files{len(self.folders)}"

    def place(self, path: str | Path) -> str:
        """Return the name of a file in the archive."""
        return os.path.normpath(self.text(str(path)))


def longest(texts: Iterable[str]) -> list[str]:
    return sorted(texts, key=len, reverse=True)


def escaped(texts: Iterable[str]) -> list[str]:
    return [re.escape(text) for text in longest(texts)]


def of_this_machine(config: dict, basedir: Path, environment: Mapping[str, str]) -> Replacements:
    """Return the replacements for a config and the environment variables. basedir: the workflow's folder."""
    found = Replacements(tokens=[*tokens(environment)])
    here = [os.getcwd(), environment.get("PWD", "")]
    for place, name in [
        *((place, "") for place in here if os.path.realpath(place or "/") == os.getcwd()),
        *((place, name) for name, place in config["pathvars"].items()),
        (config.get("local_root") or "", "data"),
        (str(basedir), "workflow"),
        (sys.prefix, "environment"),
        *((environment.get(name, ""), "cache") for name in CACHES),
        (str(Path.home()), "home"),
    ]:
        for path in {place.rstrip("/"), os.path.realpath(place)} if place.startswith(("/", "..")) else ():
            if len(Path(path).parts) > 1:
                found.folders.setdefault(path, name)
    usual = COMMON | vocabulary(config, basedir)
    for kind, names in (("account", accounts(environment)), ("host", hosts(environment))):
        for name in names:
            if len(name) >= SHORTEST and not name.isdigit() and name.lower() not in usual:
                found.names.setdefault(name, kind)
    return found


def tokens(environment: Mapping[str, str]) -> Iterator[str]:
    from huggingface_hub import constants  # not get_token, which may renew a token over the network

    saved = Path(constants.HF_TOKEN_PATH)
    values = [value for name, value in environment.items() if SECRETS.search(name)]
    for value in [*values, saved.read_text().strip() if saved.exists() else ""]:
        if len(value) >= SECRET_LENGTH and not value.startswith("/"):
            yield value


def accounts(environment: Mapping[str, str]) -> Iterator[str]:
    with contextlib.suppress(KeyError, OSError):  # a container may lack an entry for this user
        yield getpass.getuser()
    yield from (value for name, value in environment.items() if ACCOUNTS.fullmatch(name))


def hosts(environment: Mapping[str, str]) -> Iterator[str]:
    for name in [platform.node(), *(value for name, value in environment.items() if HOSTS.fullmatch(name))]:
        yield from (name, name.partition(".")[0])


def vocabulary(config: dict, basedir: Path) -> set[str]:
    """Return the words of the shipped config and the keys of the user's, such as `hra`, that name no account."""
    shipped = " ".join(path.read_text() for path in sorted((basedir / "config").rglob("*.yaml")))
    return {word.lower() for word in [*re.findall(r"[\w.-]+", shipped), *keys(config)]}


def keys(value) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from keys(item)
