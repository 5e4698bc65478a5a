"""Files of results without private values, whose SHA-256 still fit each other.

A record with a replacement gets a new SHA-256. The files that name its SHA-256 then get the new one, and so on, until
nothing changes. replaced.json lists all of these files.
"""

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hra_results.archives.private_values import Replacements
from hra_workflow.core import files, predictions, records
from hra_workflow.core.errors import expect
from hra_workflow.data import images

LINES = (".jsonl.gz",)
BINARY = (".safetensors", ".png")


@dataclass
class Rewriting:
    """Contents that differ from the files on this machine, and why.

    folder: for large ones. changed: content or file, by name in the archive. counts: replaced values by kind.
    """

    replacements: Replacements
    folder: Path
    changed: dict[str, bytes | Path] = field(default_factory=dict)
    counts: dict[str, Counter] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)

    def rewrite(self, sources: Mapping[str, Path]) -> None:
        """Rewrite files, given by their names in the archive, until their SHA-256 fit each other."""
        todo = {name: path for name, path in sources.items() if not path.name.endswith(BINARY)}
        for name in sources.keys() - todo.keys():
            self.check_binary(name, sources[name])
        while True:
            known = dict(self.replacements.digests)
            for name, path in todo.items():
                self.rewrite_one(name, path)
            if known == self.replacements.digests:
                return

    def rewrite_one(self, name: str, path: Path) -> None:
        counts: Counter = Counter()
        if path.suffix == ".tar":
            self.rewrite_images(name, path, counts)
            return
        before = path.read_bytes()
        if path.name.endswith(LINES):
            after = self.lines(before, path, counts)
        elif path.suffix == ".json":
            after = self.json(before, path, counts)
        else:
            after = self.replacements.text(before.decode(), counts).encode()
        if after != before:
            self.keep(name, before, after, counts)

    def keep(self, name: str, before: bytes, after: bytes, counts: Counter) -> None:
        self.changed[name], self.counts[name] = after, counts
        self.before[name] = hashlib.sha256(before).hexdigest()
        self.replacements.digests[self.before[name]] = hashlib.sha256(after).hexdigest()

    def json(self, before: bytes, path: Path, counts: Counter) -> bytes:
        value = files.read_json(path)
        replaced = self.replacements.value(value, counts)
        if replaced == value:
            return before
        if isinstance(value, dict) and value.get(records.SEAL) == records.digest(value):
            replaced = records.with_digest(replaced)
            self.replacements.digests[value[records.SEAL]] = replaced[records.SEAL]
        return (json.dumps(replaced, indent=1, allow_nan=False) + "\n").encode()

    def lines(self, before: bytes, path: Path, counts: Counter) -> bytes:
        text = gzip.decompress(before).decode()
        if self.replacements.text(text) == text:
            return before
        replaced = [self.replacements.value(line, counts) for line in predictions.read_all(path)]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in replaced)
        return gzip.compress(text.encode(), mtime=0)

    def rewrite_images(self, name: str, path: Path, counts: Counter) -> None:
        """Write a tar file of images again if its metadata has private values."""
        head, count = images.read_head(path)
        found = [head, *(one.about for one in images.unpack(path, lambda about: False))]
        if self.replacements.value(found, counts) == found:
            return
        replaced = self.folder / hashlib.sha256(name.encode()).hexdigest()
        every = (
            images.Picture(self.replacements.text(one.key), one.png, self.replacements.value(one.about))
            for one in images.unpack(path)
        )
        images.pack(replaced, every, count, self.replacements.value(head))
        self.changed[name], self.counts[name], self.before[name] = replaced, counts, files.sha256(path)

    def check_binary(self, name: str, path: Path) -> None:
        """Raise JobError if a file that cannot be rewritten has a private value among its texts."""
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little") if path.suffix == ".safetensors" else 0
            content = stream.read(size) if size else b"\n".join(texts_of_png(path))
        text = content.decode(errors="replace")
        expect(
            self.replacements.text(text) == text,
            f"{path}: expected no path, account, host or token of this machine in {name}, found one in its metadata. "
            "Delete the file, and make it again without it, or move it out of the results.",
        )

    def report(self) -> dict[str, dict]:
        """Return what was replaced, by file: the kinds with their numbers, and the SHA-256 before."""
        return {
            name: {"replaced": dict(self.counts[name]), "sha256_before": self.before[name]}
            for name in sorted(self.changed)
        }


def texts_of_png(path: Path) -> list[bytes]:
    from PIL import Image

    with Image.open(path) as image:
        return [str(value).encode() for value in image.info.values() if isinstance(value, str)]
