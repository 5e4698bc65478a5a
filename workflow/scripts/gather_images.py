"""Merge the shards of images into one tar file: every image once, in order, all made with the job's settings.

A single shard is already that file: it is checked without its pixels and linked, not copied. The log reports the number
of blocked images.
"""

from collections import deque
from itertools import chain

from hra_workflow.core import files, finished_run, made_from
from hra_workflow.core.job import as_list, script
from hra_workflow.data import images
from hra_workflow.tasks.control import items as control_items
from hra_workflow.tasks.subject import items as subject_items


@script
@finished_run.unless_diverged
def main(job: dict) -> None:
    params, shards = job["params"], as_list(job["input"]["shards"])
    if dataset := job["input"].get("dataset"):
        rows = files.read_json(dataset)["rows"][control_items.BENCHMARK]
        expected = [control_items.key(item) for item in control_items.items(0, rows)]
    else:
        items = subject_items.items(params["steps"], len(params["prompts"]), params["images"])
        expected = [subject_items.key(item) for item in items]
    target, blocked, head = job["output"]["images"], [], {}
    finished_run.read(job)
    for path in shards:
        found, count = images.read_head(path)
        if count:  # with more shards than batches, some have no images and no head
            made_from.check_input(job, "shards", head := found, path)

    def counted(pictures):
        for picture in pictures:
            blocked.extend([picture.key] * picture.about["blocked"])
            yield picture

    whole = len(shards) == 1
    found = chain.from_iterable(images.unpack(path, (lambda about: False) if whole else None) for path in shards)
    checked = counted(images.check_complete(found, expected, target))
    if whole:
        deque(checked, maxlen=0)
        files.link(shards[0], target)
    else:
        images.pack(target, checked, len(expected), head)
    print(f"{len(expected)} images, {len(blocked)} blocked (all black) {' '.join(blocked[:20])}")


if __name__ == "__main__":
    main()
