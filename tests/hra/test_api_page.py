"""docs/api.md."""

import api_page
import hra


def test_the_page_is_of_these_docstrings():
    assert set(api_page.ORDER) == set(hra.__all__)
    assert api_page.PAGE.read_text() == api_page.page(), (
        "docs/api.md is not of these docstrings: PYTHONPATH=. python tests/api_page.py"
    )
