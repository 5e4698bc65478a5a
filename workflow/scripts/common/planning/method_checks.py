"""Validation of method variants and presets.

Plain Python on plain dicts: imported by the Snakefile on login nodes, so no torch and no pandas here.
"""

from difflib import get_close_matches

from common.core.errors import expect
from common.methods import METHODS


def check_variant(place: str, kind: str, variant: dict) -> None:
    method, peft = METHODS[kind], variant.get("peft")
    if method.peft_config:
        expect(peft is not None, f"{place}: kind {kind} needs `peft: {{…}}`, the arguments of PEFT's config")
        expect("targets" in variant, f"{place}: kind {kind} needs `targets`, the name of a list in the model's targets")
    else:
        expect(
            peft is None and "targets" not in variant, f"{place}: kind {kind} inserts no adapter: remove peft, targets"
        )
    for key in method.required:
        expect(key in variant, f"{place}: kind {kind} needs `{key}`")
    for other, entry in METHODS.items():
        for key in {*entry.required, *entry.optional} - {*method.required, *method.optional}:
            expect(key not in variant, f"{place}: {key} is for kind {other}, this is {kind}")
    given = [name for name in method.one_of if name in peft]
    expect(
        len(given) == 1 or not method.one_of,
        f"{place}: expected one of {' and '.join(f'peft.{name}' for name in method.one_of)}, "
        f"found {' and '.join(given) or 'neither'}. In an override file, give the variant a new name",
    )
    problem = method.fault(variant)
    expect(problem is None, f"{place}: {problem}")


def check_preset(place: str, entry: dict, methods: dict, datasets: dict) -> None:
    """Raise JobError for values under an unknown name, which would have no effect."""
    variants = [f"{name}/{variant}" for name, method in methods.items() for variant in method["variants"]]
    for key, known in (("methods", [*methods, *variants]), ("datasets", list(datasets))):
        for name in entry.get(key, {}):
            nearest = "".join(get_close_matches(name, known, n=1, cutoff=0))
            expect(
                name in known,
                f"{place}.{key}: expected one of the config's {key}, found {name!r}. "
                f"Correct the name; the nearest is {nearest!r}",
            )
