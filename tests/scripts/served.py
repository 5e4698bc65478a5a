"""A file that a server on loopback serves, and its download."""

import hashlib
import random
import zipfile

from hra_workflow.core.errors import JobError
from hra_workflow.data import sources

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "c0ffee" + "0" * 34
PATH = "/data/file.bin"


def url_source(server, sha256=SHA256):
    return {"kind": "url", "files": {"file.bin": {"url": server.address + PATH, "sha256": sha256}}}


def fetch(source, folder, local_root=".", **more):
    try:
        return sources.of(source, str(local_root)).fetch(folder, **more)
    except JobError as problem:
        assert "\n" not in str(problem)  # the last line of a log is what the user is shown
        raise


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def make_wheel(folder, members):
    """Build a wheel of package `tinyweights` 1.0; members: path -> content."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tinyweights-1.0-py3-none-any.whl"
    info = "tinyweights-1.0.dist-info"
    members = {
        **members,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tinyweights\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path
