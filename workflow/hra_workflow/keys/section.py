"""Parts of the models of the config: the class of a section, its keys and the types of their values.

A section is a mapping of the config, and a pydantic model; a key is a field of it. The keys of a task are next to it.
"""

from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Len
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt
from pydantic.fields import FieldInfo

T = TypeVar("T")
NEEDED: Any = object()
EXPECTED: dict[str, str] = {}  # pattern: what a text that matches it is


class Section(BaseModel):
    """A mapping of the config. Unknown keys and values of another type are errors, also 1.0 for an integer.

    The docstring is the description of the keys that have the section as their value; `title` is the section's place.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, protected_namespaces=(), defer_build=True, allow_inf_nan=False
    )


def key(
    description: str = "",
    *,
    default: Any = NEEDED,
    absent: str = "",
    examples: tuple | list = (),
    reruns: str = "",
    alias: str | None = None,
) -> Any:
    """Declare a key of a section. A key without `default` and `absent` is required; the paper's grid has it.

    description: without one, the docstring of the section that is its value.
    default: what holds without the key, as the code has it.
    absent: the same in words, of a key without a default.
    examples: values, where the form is not obvious.
    reruns: the earliest stage that a change of the key repeats, also for the keys below it: data (files are downloaded
      or computed again, and all that depends on them), training, evaluation, table (only tables, figures and sheets),
      nothing. A value that no run uses repeats nothing.
    """
    stated = {"reruns": reruns, "absent": absent}
    value = {} if default is NEEDED and not absent else {"default": None if default is NEEDED else default}
    return Field(
        **value,
        alias=alias,
        description=description or None,
        examples=list(examples) or None,
        json_schema_extra={name: one for name, one in stated.items() if one},
    )


def stated(field: FieldInfo, name: str) -> Any:
    """Return `reruns` or `absent` of a key, or None."""
    extra = field.json_schema_extra
    return extra.get(name) if isinstance(extra, dict) else None


def matching(pattern: str, expected: str) -> FieldInfo:
    """Constrain a text to a pattern; `expected`: its name in errors."""
    EXPECTED[pattern] = expected
    return Field(pattern=pattern)


def once(values: list) -> list:
    """Return a list whose entries are unique; raise ValueError for one that is there twice."""
    for index, one in enumerate(values):
        if one in values[:index]:
            raise ValueError(f"expected every entry once, found {one!r} twice")
    return values


NonEmpty = Annotated[list[T], Len(1)]
Unique = Annotated[list[T], AfterValidator(once)]
Distinct = Annotated[list[T], Len(1), AfterValidator(once)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # as libraries take it
Shards = PositiveInt | Literal["auto"]
Precision = Literal["float32", "bf16", "fp16"]
Name = Annotated[
    str,
    matching(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", "a name for paths: letters, digits, _, and after the first one - and ."),
]
Folder = Annotated[
    str, matching(r"^[^{}<>\n]*[^{}<>/\n]$", "a folder, without braces, angle brackets or a trailing slash")
]
Line = Annotated[str, matching(r"^[^\n]+$", "one line")]
Text = Annotated[str, matching(r"^[\s\S]+$", "a text that is not empty")]
Url = Annotated[str, matching(r"^https?://", "a URL")]
Sha256 = Annotated[str, matching(r"^[0-9a-f]{64}$", "a SHA-256, 64 hexadecimal digits")]
FUNCTION = r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*$"
Function = Annotated[str, matching(FUNCTION, "a function or class, module:name")]
Run = Annotated[str, matching(r"^[^/]+/[^/]+$", "method/variant")]
SplitName = Annotated[str, matching(r"^[^/\n]+/[^/\n]+$", "dataset/split")]
