"""What the grid trains against the paper's numbers of parameters, on the real models' shapes."""

import pytest

import parameters
from hra_workflow.models import adapters, classifier

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows():
    return parameters.rows()


def test_every_number_is_the_published_one_or_has_a_reason(rows):
    published = [row for row in rows if row.printed]
    assert {row.table for row in published} == set(parameters.TABLES)
    agreeing = {(row.table, row.run) for row in published if row.is_printed_for(row.built)}
    differing = {(row.table, row.run) for row in published} - agreeing
    assert differing == set(parameters.REASONS)
    # A reason with a formula reproduces the published number.
    assert [row for row in rows if row.explained and not row.is_printed_for(row.explained)] == []


def test_the_page_is_current(rows):
    made = "\n".join(["<!-- table parameters -->", *parameters.table(rows), "<!-- end -->"])
    assert made in parameters.PAGE.read_text(), "run: python tests/parameters.py"


@pytest.mark.parametrize(
    ("task", "model", "weights"),
    [
        ("glue", "deberta-v3-base", 183_831_552),
        ("math", "llama2-7b", parameters.LLAMA_WEIGHTS),
        ("subject", "stable-diffusion-v1-5", 859_520_964),
    ],
)
def test_the_base_models_are_the_real_ones(task, model, weights):
    """Compare the number of weights with the published files, without a new classifier."""
    built = parameters.base_model(task, model, {"kind": "full"})
    head = classifier.head_of(built) if task == "glue" else []
    assert weights == sum(
        one.numel() for name, one in built.named_parameters() if not adapters.built_adapters.is_within(name, head)
    )
