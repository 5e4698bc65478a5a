"""Merge the shards of images into one tar file: every image once, in order, all generated with the same settings.

A single shard already is that file: it is checked without its pixels and linked, so nothing is copied. The log reports
the number of blocked images.
"""

from collections import deque
from itertools import chain

from hra_workflow.core import diverged_runs, files
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import as_list, start
from hra_workflow.data import images
from hra_workflow.tasks.control import items as control_items
from hra_workflow.tasks.subject import items as subject_items


def main(job: dict) -> None:
    params, shards = job["params"], as_list(job["input"]["shards"])
    if dataset := job["input"].get("dataset"):
        rows = files.read_json(dataset)["rows"][control_items.BENCHMARK]
        expected = [control_items.key(item) for item in control_items.items(0, rows)]
    else:
        items = subject_items.items(params["steps"], len(params["prompts"]), params["images"])
        expected = [subject_items.key(item) for item in items]
    target, blocked, first = job["output"]["images"], [], {}

    def counted(pictures):
        for picture in pictures:
            settings = picture.about["settings"]
            if settings != first.setdefault("settings", settings):
                raise JobError(
                    f"{target}: {picture.key} was generated with different settings or weights than the preceding "
                    f"images. Delete the shards and run again: {' '.join(shards)}"
                )
            blocked.extend([picture.key] * picture.about["blocked"])
            yield picture

    whole = len(shards) == 1
    found = chain.from_iterable(images.unpack(path, (lambda about: False) if whole else None) for path in shards)
    checked = counted(images.complete(found, expected, target))
    if whole:
        deque(checked, maxlen=0)
        files.link(shards[0], target)
    else:
        images.pack(target, checked, len(expected))
    print(f"{len(expected)} images, {len(blocked)} blocked (all black) {' '.join(blocked[:20])}")


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"), diverged_runs.skipped)
