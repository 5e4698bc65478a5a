"""The sdist and wheel: the library only, and enough to run README's example with nothing but its dependencies."""

import importlib.metadata
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
BEFORE = """
import torch

class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.v_proj = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

    def forward(self, x):
        return self.q_proj(x).softmax(-1) * self.v_proj(x)

model, lam, loss = Attention(), 0.1, 0.0
"""
AFTER = """
loss = loss + model(torch.randn(4, 8)).square().mean()
loss.backward()
layer = model.base_model.model.q_proj
assert hra.__file__.startswith(sys.prefix), hra.__file__
assert type(layer).__module__ == "hra.layers", type(layer)
assert layer.hra_u["default"].grad.abs().max() > 0
assert importlib.util.find_spec("snakemake") is None
"""


def run(*command) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder)
    return folder


@pytest.fixture(scope="module")
def metadata(built) -> Metadata:
    """Parse the wheel's metadata; invalid metadata is an error."""
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
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
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", *built.glob("*.whl"))
    link([one for one in metadata.requires_dist if not one.marker], site)
    run(sys.executable, "-m", "pip", "--python", python, "check")
    return python


def test_both_contain_the_library_only(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {name.partition("/")[0] for name in names} == {"LICENSE", "PKG-INFO", "hra", "pyproject.toml"}
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    assert "hra/py.typed" in names
    assert {re.sub(r"^hra-.*\.dist-info$", "metadata", name.partition("/")[0]) for name in names} == {"hra", "metadata"}


def test_the_metadata_is_the_library_s(metadata):
    assert {requirement.name for requirement in metadata.requires_dist if not requirement.marker} == {
        "torch",
        "peft",
        "safetensors",
    }
    assert set(metadata.provides_extra) == {"cli", "quantization"}
    assert not re.findall(r"\]\((?!https://)[^)]*\)", metadata.description)  # a package index has no other files


def test_the_oldest_tested_versions_are_the_oldest_allowed(metadata):
    tested = dict(line.split("==") for line in (ROOT / "envs/oldest.txt").read_text().split())
    allowed = {one.name: str(one.specifier) for one in metadata.requires_dist if one.specifier and not one.marker}
    assert allowed == {name: f">={version.removesuffix('.0')}" for name, version in tested.items()}


@pytest.mark.slow
@pytest.mark.parametrize("readme", ["README.md", "hra/README.md"])
def test_the_example_runs_from_the_wheel_with_its_dependencies_only(python, tmp_path, readme):
    example = re.search(r"```python\n(import hra.*?)```", (ROOT / readme).read_text(), re.DOTALL)[1]
    (tmp_path / "example.py").write_text(f"import importlib.util, sys\n{BEFORE}\n{example}\n{AFTER}")
    run(python, "-I", tmp_path / "example.py")
