"""Describe the observations of a run in sentences."""

from collections.abc import Iterator

GB = 1e9
BATCH_BYTES = 1e6  # the last batch, whose rows have different lengths, is kept until the next one
NOT_OWN = "a line of a library"
SHOWN = 3  # maximum number of lines in one sentence


def lines_of(observed: dict) -> Iterator[str]:
    """Yield the report of `python -m fakegpu`."""
    steps, card = observed["steps"], observed["card"]
    yield f"{card} (fake), {len(steps)} steps"
    if observed["error"]:
        yield f"error     {observed['error']}" + (f" (at {observed['raised']})" if observed["raised"] else "")
    excess = ""
    if observed["peak_bytes"] > observed["card_bytes"]:
        excess = f". {remedy(observed)}"
    yield f"memory    {needs(observed)}{excess}"
    if "seconds_per_step" in observed:
        seconds, busy = observed["seconds_per_step"], observed["busy_per_step"]
        yield f"time      {seconds:.3g} s per step, in which the kernels take {busy:.3g} s"
    seen = of_step(steps)
    yield f"waits     {'in every step' if seen else 'none in every step'}"
    yield from (f"          {wait['count']} {wait['what']} at {wait['lines'] or NOT_OWN}" for wait in seen)
    if left := leak(observed):
        yield f"leak      {left}"
    if observed["float64"]:
        yield f"float64   {named(observed['float64'][:SHOWN])}"


def needs(observed: dict) -> str:
    return f"{observed['peak_bytes'] / GB:.3g} of {observed['card_bytes'] / GB:.3g} GB{parts(observed['parts'])}"


def parts(peak: dict[str, int]) -> str:
    named = ", ".join(f"{name} {size / GB:.3g}" for name, size in peak.items())
    return f" ({named})" if named else ""


def remedy(observed: dict) -> str:
    """Describe the config value for the largest number of rows per device and step that fits."""
    rows, activations = observed["rows_per_device"], observed["parts"].get("activations")
    if not rows or not activations:
        return "Lower `batch_size`"
    fitting = int(rows * (1 - (observed["peak_bytes"] - observed["card_bytes"]) / activations))
    if fitting < 1:
        return "Not even one row fits: use a larger GPU, or gradient_checkpointing"
    return f"{fitting} of {rows} rows fit at once: raise `gradient_accumulation`"


def leak(observed: dict) -> str | None:
    """Describe the memory that every step leaves, with the lines that made it."""
    steps = observed["steps"]
    after, kept = [step["live_bytes"] for step in steps], steps[-1]["kept"] if steps else {}
    if kept:
        largest = sorted(kept, key=kept.get, reverse=True)
        made = [f"{size(kept[lines])} made at {lines or NOT_OWN}" for lines in largest[:SHOWN]]
        made += [f"and at {len(kept) - SHOWN} more places"] if len(kept) > SHOWN else []
        return f"every step leaves {size(sum(kept.values()))} that are not freed: {', '.join(made)}"
    if len(after) > 2 and (growth := after[-1] - after[-2]) > BATCH_BYTES:
        return f"a step leaves {size(growth)} that are not freed"
    return None


def size(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count / 1e3:.1f} KB"


def of_step(steps: list[dict], known: tuple[str, ...] = ()) -> list[dict]:
    """Return the waits that every step has, except at `known` lines; the first step also has those of the start."""
    counted = [{(wait["what"], wait["lines"]): wait["count"] for wait in step["waits"]} for step in steps[1:]]
    common = {key: min(one.get(key, 0) for one in counted) for key in (counted[0] if counted else ())}
    return [
        {"what": what, "lines": lines, "count": count}
        for (what, lines), count in common.items()
        if count and not lines.startswith(known)
    ]


def named(counted: list[dict]) -> str:
    return ", ".join(f"{one['count']} {one['what']} at {one['lines'] or NOT_OWN}" for one in counted)
