"""Assignment of work to shards, and seeds that do not depend on the number of shards."""

import hashlib


def batches(items: list[tuple], size: int) -> list[list[tuple]]:
    """Divide items into batches. Batches are assigned to shards, so results do not depend on the number of shards.

    A batch never contains items of two steps (the first element of an item), which have different weights.
    """
    cut: list[list[tuple]] = []
    for item in items:
        if not cut or len(cut[-1]) == size or cut[-1][0][0] != item[0]:
            cut.append([])
        cut[-1].append(item)
    return cut


def part(batches: list, index: int, count: int) -> list:
    """Return the batches of shard `index` of `count`: consecutive ones, so that a shard rarely loads other weights."""
    return batches[index * len(batches) // count : (index + 1) * len(batches) // count]


def seed(*parts) -> int:
    """Return a 63-bit seed that depends only on the parts."""
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1
