"""The keys of the tasks of texts and of their datasets."""

from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field, NonNegativeInt, PositiveInt, create_model, field_validator

from hra_workflow.keys.hyperparameters import Hyperparameters
from hra_workflow.keys.section import Distinct, Section, Unique, key, stated
from hra_workflow.keys.tasks import EveryTask, Resources, Rows


class Read(Section, title="read"):
    """Options of reading a text file, as of pandas.read_csv. Without it, the suffix says; other files are Parquet."""

    sep: str = key("Separator; longer than a character, a regular expression.", absent="`,`; of .tsv, a tab")
    header: int | None = key("Row of the column names, from 0; null: none.", absent="0; with `names`, null")
    names: Unique[str] = key(
        "Names of the columns.", absent="those of the row `header`", examples=[["id", "label", "sentence"]]
    )
    quoting: int = key("As in Python's csv: 3, quote characters belong to the texts, as often in .tsv.", default=0)
    encoding: str = key("Of the file, by Python's names.", default="utf-8-sig", examples=["latin-1"])


class Texts(Rows, title=""):
    """Files with texts."""

    tokens: PositiveInt = key(
        "About the mean tokens of a training row, for `hra-workflow smoke`, which trains on rows of this length.",
        absent="rows of `max_length` only",
        reruns="nothing",
    )
    read: Read = key(absent="by the files' suffixes", reruns="data")


class ResourcesOfProcesses(Resources, title="resources"):
    """Resources of a training run whose results depend on the number of processes."""

    gpu: NonNegativeInt = key("As for every task.", reruns="training")
    max_gpu: dict[str, PositiveInt] = key("As for every task.", default={}, reruns="training")


def search_of(hyperparameters: type[Section]) -> type[Section]:
    """Return the model of the values to try: a list for each hyper-parameter that is no mapping."""
    lists: dict[str, Any] = {}
    for name, field in hyperparameters.model_fields.items():
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            values = Distinct[Annotated[(field.annotation, "tried", *field.metadata)]]
            lists[name] = values, key("Values to try.", absent="not tried", reruns=stated(field, "reruns") or "")
    return create_model("Search", __base__=Section, **lists)


S = TypeVar("S", bound=Section)
Search = search_of(Hyperparameters)


class Tune(Section, Generic[S], title="tune"):
    """Trials at equal budgets on `held_out`, which choose values of every run and dataset."""

    search: S = key(
        "Hyper-parameter → the values to try, of every tuned run.", examples=[{"learning_rate": [5.0e-4, 1.0e-3]}]
    )
    methods: dict[str, S] = key(
        "Method or method/variant → values that replace those of `search`.",
        default={},
        examples=[{"hra": {"learning_rate": [5.0e-3, 1.0e-2]}}],
    )
    runs: Distinct[str] = key(
        "The runs that are tuned.", absent="all trained runs of the grid", examples=[["lora/r8", "hra/r8"]]
    )
    trials: PositiveInt = key(
        "Number of trials of every run and dataset; each run has exactly this number of combinations of values."
    )

    @field_validator("search")
    @classmethod
    def has_values(cls, search: Section) -> Section:
        """Check that there is something to try."""
        if not search.model_fields_set:
            raise ValueError("expected at least one hyper-parameter, found {}")
        return search


class HeldOut(Section):
    """Training rows that are not trained on, of every class, for `selection: held-out` and `tune`."""

    share: Annotated[float, Field(gt=0, lt=1)] = key("Fraction of the rows.")
    rows: PositiveInt | None = key("Maximum number of rows.", default=None)
    seed: NonNegativeInt = key("Seed of the random choice of rows, the same for every run.", default=0)


class TextTask(EveryTask, title="tasks.{glue,math}"):
    """A task of texts: its hyper-parameters can be searched, and its results depend on the number of processes."""

    resources: ResourcesOfProcesses = key("What a training run requests.", reruns="nothing")
    held_out: HeldOut = key(absent="none, and `selection` and `tune` need it", reruns="training")
    tune: Tune[Search] | None = key(default=None, reruns="training")
