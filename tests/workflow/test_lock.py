"""envs/lock.txt: what `make install` installs, with hashes."""

import re
import subprocess
import tomllib

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hra
from support import ROOT

HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def locked(name: str) -> dict[str, Requirement]:
    """Return the requirements of a file of envs/ by name; every one of a lock has a hash."""
    lines = (ROOT / "envs" / name).read_text().replace("\\\n", " ").splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    if name.startswith("lock"):
        assert all(HASH.search(line) for line in lines)
    found = [Requirement(line.partition("--hash")[0]) for line in lines]
    return {canonicalize_name(one.name): one for one in found}


FILES = [ROOT / "pyproject.toml", ROOT / "workflow/pyproject.toml", *sorted(ROOT.glob("packages/*/pyproject.toml"))]


def stated() -> list[Requirement]:
    """List what every pyproject.toml states that `make install` needs."""
    found = []
    for file in FILES:
        content = tomllib.loads(file.read_text())
        extras, groups = content["project"].get("optional-dependencies", {}), content.get("dependency-groups", {})
        found += content["project"]["dependencies"] + [*extras.get("cli", []), *extras.get("snakemake", [])]
        found += [one for name in ("library-tests", "dev", "docs") for one in groups.get(name, [])]
    own = {tomllib.loads(file.read_text())["project"]["name"] for file in FILES}
    every = [Requirement(one) for one in found if isinstance(one, str)]
    return [one for one in every if one.name not in own]


def test_the_lock_has_a_version_that_fits_of_every_requirement_and_conda_s_environment_has_it():
    pins = locked("lock.txt") | locked("torch.txt")
    for one in stated():
        (pin,) = pins[canonicalize_name(one.name)].specifier
        assert one.specifier.contains(pin.version.removesuffix(".*")), f"{one}: envs/ has {pin}; run make lock"
    listed = yaml.safe_load((ROOT / "envs/hra.yaml").read_text())["dependencies"][-1]["pip"]
    requirements = [Requirement(entry) for entry in listed if "==" in entry]
    assert len(requirements) > 30
    assert all(one.specifier == pins[canonicalize_name(one.name)].specifier for one in requirements)


def test_make_install_installs_the_lock():
    printed = subprocess.run(["make", "-Bn", "install"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--require-hashes --no-deps -r envs/lock.txt" in printed and "-r envs/torch.txt" in printed


def test_the_citation_has_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == hra.__version__
