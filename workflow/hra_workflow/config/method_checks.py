"""Validation of method variants and presets."""

from hra_workflow import methods
from hra_workflow.core.errors import JobError, expect
from hra_workflow.core.grid import kind_of
from hra_workflow.core.wording import meant
from hra_workflow.methods import peft_types


def check_type(place: str, method: dict) -> None:
    """Raise JobError unless a method of kind peft, and no other, names a type of PEFT that can run."""
    if method["kind"] != methods.PEFT:
        expect("type" not in method, f"{place}: type is for kind {methods.PEFT}, this is {method['kind']}. Remove it")
        return
    expect("type" in method, f"{place}: kind {methods.PEFT} needs `type`, one of {', '.join(peft_types.types())}")
    peft_types.check(f"{place}.type", method["type"])


def check_variant(place: str, method: dict, variant: dict) -> None:
    """Raise JobError for the first error in a variant of a method of the config."""
    kind, entry, peft = kind_of(method), methods.entry(method), variant.get("peft")
    if entry.adapter.config:
        expect(peft is not None, f"{place}: kind {kind} needs `peft: {{…}}`, the arguments of PEFT's config")
        expect(
            "targets" in variant,
            f"{place}: kind {kind} needs `targets`, the name of a list in the model's targets",
        )
    else:
        expect(
            peft is None and "targets" not in variant, f"{place}: kind {kind} inserts no adapter: remove peft, targets"
        )
    for key in entry.variants.required:
        expect(key in variant, f"{place}: kind {kind} needs `{key}`")
    own = {*entry.variants.required, *entry.variants.optional}
    for other, other_entry in methods.METHODS.items():
        for key in {*other_entry.variants.required, *other_entry.variants.optional} - own:
            expect(key not in variant, f"{place}: {key} is for kind {other}, this is {kind}")
    given = [name for name in entry.adapter.one_of if name in peft]
    expect(
        len(given) == 1 or not entry.adapter.one_of,
        f"{place}: expected one of {' and '.join(f'peft.{name}' for name in entry.adapter.one_of)}, "
        f"found {' and '.join(given) or 'neither'}. In an override file, give the variant a new name",
    )


def check_preset(place: str, entry: dict, methods: dict, datasets: dict) -> None:
    """Raise JobError for values of an unknown name, which would have no effect."""
    variants = [f"{name}/{variant}" for name, method in methods.items() for variant in method["variants"]]
    for key, known in (("methods", [*methods, *variants]), ("datasets", list(datasets))):
        for name in (one for one in entry.get(key, {}) if one not in known):
            raise JobError(
                f"{place}.{key}: expected one of the config's {key}, found {name!r}{meant(name, known)}. "
                f"Use one of {', '.join(known)}"
            )
