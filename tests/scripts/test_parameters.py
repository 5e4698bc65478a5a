"""What the grid trains against the paper's numbers of parameters, on the real models' shapes."""

import pytest

import parameters

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
