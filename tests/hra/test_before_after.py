"""The comparison of tests/hra/upstream/before_after.py, which two processes with different PEFTs measure."""

import runpy
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parent / "upstream/before_after.py"))


def measured(value: float = 1.0, loss: float = 2.0) -> dict:
    """Build what the script writes for one case, with one value per tensor that differs from float32 by 0.01."""
    forms = {f"cpu, {form}": {"unmerged": [value + 0.01 * (form != "float32")]} for form in SCRIPT["FORMS"]}
    return {"devices": ["cpu"], "cases": {"llama: default": {"losses": [loss], **forms}}}


@pytest.mark.parametrize(
    "after",
    [measured(value=1.1), measured(loss=2.1), measured(value=float("nan"))],
    ids=["outputs", "losses", "not a number"],
)
def test_a_change_beyond_the_limits_is_named(after):
    with pytest.raises(SystemExit, match="beyond the limits: llama: default, cpu"):
        SCRIPT["compare"](measured(), after)


def test_rounding_is_within_the_limits():
    with pytest.raises(SystemExit) as end:
        SCRIPT["compare"](measured(), measured(value=1 + 1e-6))
    assert end.value.code == 0


def test_an_error_after_the_change_is_beyond_the_limits():
    after = measured()
    after["cases"]["llama: default"]["cpu, float16"] = "RuntimeError: not implemented for 'Half'"
    with pytest.raises(SystemExit, match="beyond the limits"):
        SCRIPT["compare"](measured(), after)
