"""Merge the shards of images into one tar file, every image once, in order; how many are blocked is said in the log."""

from itertools import chain

from common import images, subjects
from common.aggregate import as_list
from common.job import start


def main(job: dict) -> None:
    params, shards = job["params"], as_list(job["input"]["shards"])
    items = subjects.items(params["steps"], len(params["prompts"]), params["images"])
    expected = [subjects.key(item) for item in items]
    blocked = []

    def counted(pictures):
        for picture in pictures:
            blocked.extend([picture.key] * picture.about["blocked"])
            yield picture

    found = chain.from_iterable(images.unpack(path) for path in shards)
    target = job["output"]["images"]
    images.pack(target, counted(images.complete(found, expected, target)))
    print(f"{len(expected)} images, {len(blocked)} blocked (all black) {' '.join(blocked[:20])}")


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
