"""Whether variants of methods and presets can work, and how a check is written.

Plain Python on plain dicts: imported by the Snakefile on login nodes, so no torch and no pandas here.
"""

from difflib import get_close_matches

from common.core.errors import JobError
from common.planning import kinds

BLOCKS = {
    "oft": ("r", "oft_block_size"),
    "boft": ("boft_block_size", "boft_block_num"),
}  # kind → keys of peft, one of the two


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise JobError(message)


def one_of(place: str, what: str, value, known) -> None:
    expect(value in known, f"{place}: unknown {what} {value!r}; known: {', '.join(map(str, known))}")


def check_variant(place: str, kind: str, variant: dict) -> None:
    peft = variant.get("peft")
    if kind in kinds.ADAPTERS:
        expect(peft is not None, f"{place}: kind {kind} needs `peft: {{…}}`, the arguments of PEFT's config")
        expect("targets" in variant, f"{place}: kind {kind} needs `targets`, the name of a list of the model's targets")
    else:
        expect(
            peft is None and "targets" not in variant, f"{place}: kind {kind} inserts no adapter: remove peft, targets"
        )
    for key in ("lambda", "penalty"):
        expect(kind == "hra" or key not in variant, f"{place}: {key} is for kind hra, this is {kind}")
    expect(
        (kind == "adalora") == ("budget" in variant), f"{place}: `budget` belongs to kind adalora and is needed there"
    )
    if kind == "hra":
        paired = not peft.get("apply_GS", False) and peft.get("init_weights", True)
        expect(
            not (paired and peft["r"] % 2),
            f"{place}: peft.r is {peft['r']}; the paired start (equal columns, H = I) needs an even r. "
            "Use an even r, or init_weights: false for a random start away from the pretrained model",
        )
    if kind in BLOCKS:
        given = [name for name in BLOCKS[kind] if name in peft]
        expect(
            len(given) == 1,
            f"{place}: expected one of peft.{BLOCKS[kind][0]} and peft.{BLOCKS[kind][1]}, "
            f"found {' and '.join(given) or 'neither'}. In an override file, give the variant a new name",
        )
    if kind == "boft" and (m := peft.get("boft_n_butterfly_factor", 1)) > 1:
        size, blocks = peft.get("boft_block_size", 2), peft.get("boft_block_num", 2 ** (m - 1))
        expect(
            size % 2 == 0 and blocks % 2 ** (m - 1) == 0,
            f"{place}: {m} butterfly factors need an even boft_block_size, or a boft_block_num that is a multiple of "
            f"{2 ** (m - 1)}; found {peft[given[0]]}",
        )


def check_preset(place: str, entry: dict, methods: dict, datasets: dict) -> None:
    """Values for a name that nothing bears would be without effect."""
    variants = [f"{name}/{variant}" for name, method in methods.items() for variant in method["variants"]]
    for key, known in (("methods", [*methods, *variants]), ("datasets", list(datasets))):
        for name in entry.get(key, {}):
            nearest = "".join(get_close_matches(name, known, n=1, cutoff=0))
            expect(
                name in known,
                f"{place}.{key}: expected one of the config's {key}, found {name!r}. "
                f"Correct the name; the nearest is {nearest!r}",
            )
