"""The clock of a fake GPU: what a cache holds, and what takes a kernel's time."""

import pytest

from fakegpu import cuda, timing
from fakegpu.timing import Cache, Clock, Speed

SPEED = Speed(100e12, 50e12, 10e12, 5e12, 1e12, 4e12, 40e6)


def test_a_cache_moves_what_it_does_not_hold_and_what_leaves_it_changed():
    cache = Cache(100)
    assert cache.move([("a", 60, False)]) == 60
    assert cache.move([("a", 60, False), ("b", 40, True)]) == 0  # b is written, to memory only when it leaves
    assert cache.move([("c", 50, False)]) == 50  # instead of a, which nobody has changed
    assert cache.move([("b", 40, False)]) == 0
    assert cache.move([("a", 60, False)]) == 60  # instead of c
    assert cache.move([("d", 100, False)]) == 100 + 40  # instead of a and b, which returns to memory


def test_a_freed_storage_leaves_nothing_to_write():
    cache = Cache(100)
    cache.move([("a", 100, True)])
    cache.drop("a")
    assert cache.move([("b", 100, False)]) == 100


def test_more_than_the_cache_holds_goes_through_memory():
    cache = Cache(100)
    assert cache.move([("a", 300, False), ("b", 300, True)]) == 600
    assert not cache.held and cache.free == 100


@pytest.mark.parametrize(
    ("kind", "flops", "moved", "used", "seconds"),
    [
        ("half", 1e12, 0, 0, 1e12 / (timing.EFFICIENCY["half"] * SPEED.half)),
        ("tf32 convolution", 1e12, 0, 0, 1e12 / (timing.EFFICIENCY["tf32 convolution"] * SPEED.tf32)),
        ("float32", 0, 1e9, 1e9, 1e9 / SPEED.memory),
        ("float32", 0, 1e6, 1e9, 1e9 / SPEED.cache),
    ],
)
def test_the_slowest_part_of_a_kernel_takes_its_time(kind, flops, moved, used, seconds):
    clock = Clock(SPEED)
    clock.run(kind, flops, moved, used)
    assert clock.busy == pytest.approx(timing.KERNEL_SECONDS + seconds)
    assert clock() == pytest.approx(timing.LAUNCH_SECONDS + clock.busy)


def test_the_host_runs_ahead_until_it_waits():
    clock = Clock(SPEED)
    for _ in range(3):
        clock.run("float32", 0, 1e9, 1e9)
    assert clock.host == pytest.approx(3 * timing.LAUNCH_SECONDS)
    clock.wait()
    assert clock.host == clock.device == clock()


def test_no_card_computes_faster_in_a_higher_precision_or_reads_its_cache_slower_than_its_memory():
    for card in cuda.CARDS.values():
        speed = card.speed
        assert speed.half > speed.tf32 >= speed.float32 > speed.float64 and speed.cache > speed.memory, card.name
