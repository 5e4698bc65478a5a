"""A release: one version for all packages; the library's wheel runs README's example with only its dependencies."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement

import hra

pytestmark = pytest.mark.slow  # wheels are built and installed

ROOT = Path(__file__).parents[2]
PACKAGES = [path.parent.relative_to(ROOT) for path in sorted(ROOT.glob("packages/*/pyproject.toml"))]
RELEASED = "hra envs Makefile pyproject.toml workflow/pyproject.toml LICENSE CHANGELOG.md CITATION.cff .gitignore"
VERSION = "99.0.0"
BEFORE = """
import torch

class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.v_proj = torch.nn.Linear(16, 16), torch.nn.Linear(16, 16)

    def forward(self, x):
        return self.q_proj(x).softmax(-1) * self.v_proj(x)

model, lam, loss = Attention(), 0.1, 0.0
"""
AFTER = """
loss = loss + model(torch.randn(4, 16)).square().mean()
loss.backward()
layer = model.base_model.model.q_proj
assert hra.__file__.startswith(sys.prefix), hra.__file__
assert type(layer).__module__ == "hra.layers", type(layer)
assert layer.hra_u["default"].grad.abs().max() > 0
assert importlib.util.find_spec("snakemake") is None
"""


def run(*command, folder: Path = ROOT, ok: bool = True) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    user = {f"GIT_{role}_{key}": "a@b" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=folder, env=os.environ | user | {"PATH": path}
    )
    assert (not done.returncode) == ok, done.stdout + done.stderr
    return done.stdout + ("" if ok else done.stderr)


def release(repository: Path, *variables: str, ok: bool = True) -> str:
    return run("make", "release", *variables, folder=repository, ok=ok)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """Release a version of a copy of the repository."""
    folder = tmp_path_factory.mktemp("release")
    for name in [*RELEASED.split(), *map(str, PACKAGES)]:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    changelog = folder / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("## [Unreleased]\n", "## [Unreleased]\n\n- A change.\n", 1))
    (folder / ".venv").mkdir()
    (folder / ".venv/.installed").touch()
    run("git", "init", "-q", folder=folder)
    run("git", "add", "-A", folder=folder)
    run("git", "commit", "-q", "-m", "before", folder=folder)
    release(folder, f"VERSION={VERSION}")
    return folder


@pytest.fixture(scope="module")
def built(repository) -> Path:
    return repository / "dist"


def wheel_of(built: Path) -> Path:
    return next(built.glob("hra-*.whl"))


@pytest.fixture(scope="module")
def metadata(built) -> Metadata:
    """Parse the wheel's metadata; invalid metadata is an error."""
    with zipfile.ZipFile(wheel_of(built)) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return Metadata.from_email(wheel.read(name))


def link(requirements: list[Requirement], site: Path) -> None:
    """Link the installed distributions that these requirements ask for, and those that they ask for in turn."""
    wanted, seen = [(one.name, {"", *one.extras}) for one in requirements], set()
    while wanted:
        name, extras = wanted.pop()
        for extra in extras - {e for n, e in seen if n == name}:
            seen.add((name, extra))
            distribution = importlib.metadata.distribution(name)
            for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
                if not (site / top).exists():
                    (site / top).symlink_to(distribution.locate_file(top))
            for one in map(Requirement, distribution.requires or ()):
                if one.marker is None or one.marker.evaluate({"extra": extra}):
                    wanted.append((one.name, {"", *one.extras}))


@pytest.fixture(scope="module")
def python(built, metadata, tmp_path_factory) -> Path:
    """Return the Python of an environment with the wheel, what it depends on, and nothing else."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder)
    python = folder / "bin/python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel_of(built))
    link([one for one in metadata.requires_dist if not one.marker], site)
    run(sys.executable, "-m", "pip", "--python", python, "check")
    return python


def test_a_release_has_one_version_a_changelog_a_commit_and_a_tag(repository, built):
    names = ["hra", *(path.parent.name for one in PACKAGES for path in (ROOT / one).glob("src/*/__init__.py"))]
    assert {path.name for path in built.iterdir()} == {
        f"{name}-{VERSION}{ending}" for name in names for ending in (".tar.gz", "-py3-none-any.whl")
    }
    installed = run(sys.executable, "-m", "hatchling", "metadata", "version", folder=repository / "workflow")
    assert installed.strip() == VERSION
    assert run("git", "describe", folder=repository).strip() == f"v{VERSION}"
    notes = run("git", "tag", "-l", "--format=%(contents)", f"v{VERSION}", folder=repository).strip()
    for folder in PACKAGES:
        assert f"## [{VERSION}]" in (repository / folder / "CHANGELOG.md").read_text()
    changelog = (repository / "CHANGELOG.md").read_text()
    section = re.search(rf"^## \[{VERSION}\].*?(?=^## \[)", changelog, re.DOTALL | re.MULTILINE)
    assert notes == section[0].strip() and "- A change." in notes
    changed = run("git", "show", "--format=%s", "-U0", folder=repository)
    assert changed.startswith(f"Release {VERSION}\n")
    lines = [line for line in changed.splitlines() if re.match(r"[+-][^+-]", line) and "date-released" not in line]
    assert [re.sub(r"[\d-]{10}$", "today", line) for line in lines] == [
        f"+## [{VERSION}] - today",
        *(f"-version: {hra.__version__}", f"+version: {VERSION}"),
        *(f'-__version__ = "{hra.__version__}"', f'+__version__ = "{VERSION}"'),
        *(f"+## [{VERSION}] - today" for _ in PACKAGES),
    ]


def test_what_cannot_be_released_is_an_error(repository):
    assert "Which version? make release VERSION=0.2.0" in release(repository, ok=False)
    assert "`0.0.1` is not higher than the original version" in release(repository, "VERSION=0.0.1", ok=False)
    (repository / "LICENSE").write_text("another")
    assert "expected no changes, found some: commit or stash them" in release(repository, "VERSION=99.1", ok=False)


def test_changelogs_are_by_version():
    for folder in ("", *PACKAGES):
        headings = re.findall(r"^## \[(.*?)\]", (ROOT / folder / "CHANGELOG.md").read_text(), re.MULTILINE)
        assert headings[:1] == ["Unreleased"] and headings[1:2] in ([], [hra.__version__]), folder


def test_both_contain_the_library_only(built):
    with tarfile.open(next(built.glob("hra-*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {name.partition("/")[0] for name in names} == (
        {".gitignore", "LICENSE", "PKG-INFO", "hra", "pyproject.toml"}
    )
    with zipfile.ZipFile(wheel_of(built)) as wheel:
        names = set(wheel.namelist())
    assert "hra/py.typed" in names
    assert {re.sub(r"^hra-.*\.dist-info$", "metadata", name.partition("/")[0]) for name in names} == {"hra", "metadata"}


def test_the_metadata_is_the_library_s(metadata):
    assert {requirement.name for requirement in metadata.requires_dist if not requirement.marker} == {
        "torch",
        "peft",
        "safetensors",
    }
    assert set(metadata.provides_extra) == {"quantization"}
    assert not re.findall(r"\]\((?!https://)[^)]*\)", metadata.description)  # a package index has no other files


def test_the_oldest_tested_versions_are_the_oldest_allowed(metadata):
    tested = dict(line.split("==") for line in (ROOT / "envs/oldest.txt").read_text().split())
    allowed = {one.name: str(one.specifier) for one in metadata.requires_dist if one.specifier and not one.marker}
    assert allowed == {name: f">={tested[name].removesuffix('.0')}" for name in allowed}


@pytest.mark.slow
@pytest.mark.parametrize("readme", ["README.md", pytest.param("hra/README.md", marks=pytest.mark.full)])
def test_the_example_runs_from_the_wheel_with_its_dependencies_only(python, tmp_path, readme):
    example = re.search(r"```python\n(import hra.*?)```", (ROOT / readme).read_text(), re.DOTALL)[1]
    (tmp_path / "example.py").write_text(f"import importlib.util, sys\n{BEFORE}\n{example}\n{AFTER}")
    run(python, "-I", tmp_path / "example.py")


def commands() -> list[list[str]]:
    """Return the commands of each block of the library's page, which install it from a clone or from a wheel."""
    found = re.findall(r"```bash\n(pip install .*?)```", (ROOT / "hra/README.md").read_text(), re.DOTALL)
    return [[line.partition(" #")[0].strip() for line in block.splitlines()] for block in found]


@pytest.mark.full
def test_the_documented_lines_install_the_library_from_a_clone_and_from_a_wheel(repository, built, tmp_path):
    """In a fresh environment, from the package index: several minutes, and gigabytes with a torch for CUDA."""
    venv.create(tmp_path / "venv", with_pip=True)
    bin_folder, extras = tmp_path / "venv/bin", ("bitsandbytes", "torchao")
    used = "import hra, sys; hra.install(); assert hra.__version__ == sys.argv[1]; print(hra.__file__)"
    for block in commands():
        for line in block:
            run("env", f"PATH={bin_folder}:{os.environ['PATH']}", "sh", "-c", line, folder=repository)
            where = run(bin_folder / "python", "-c", used, VERSION, folder=tmp_path).strip()
            assert where.startswith(str(repository if " -e " in line else tmp_path / "venv")), (line, where)
        run(bin_folder / "python", "-c", "import torchao", folder=tmp_path)
        run(bin_folder / "hra", "inspect", "--help", folder=tmp_path)
        run(bin_folder / "pip", "uninstall", "-q", "-y", "hra", *extras, folder=tmp_path)
