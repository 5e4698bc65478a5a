"""Values that name a user's machine are replaced, in paths and texts, and other words are not."""

import pytest

from hra_results.archives import private_values
from support import ROOT, paper_config


def test_names_of_tasks_methods_and_common_accounts_are_not_private(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = paper_config()
    for name in ("hra", "root", "glue", "17", "me"):
        found = private_values.of_this_machine(config, ROOT, {"USER": name, "HOSTNAME": "localhost"})
        assert name not in found.names and "localhost" not in found.names
    found = private_values.of_this_machine(config, ROOT, {"USER": "hra-user", "HF_TOKEN": "short"})
    assert found.names["hra-user"] == "account" and "short" not in found.tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data/me/out/glue/x, /data/me/out2", "results/glue/x, PATH"),
        ("/home/me/project/a.csv and /home/me/project.", "a.csv and .."),
        ("file:///home/me/project/a", "file://a"),
        ("../out/x ../../out/x", "resources/x ../../out/x"),
        ("https://example.org/home/x, 1/2, and/or, </b>", "https://example.org/home/x, 1/2, and/or, </b>"),
        ("alice7 alice7_x/alice7/ malice7 alice77 Alice7", "ACCOUNT ACCOUNT_x/ACCOUNT/ malice7 alice77 Alice7"),
        (f"hf_{'a' * 20}, sk-{'b' * 20}", "TOKEN, TOKEN"),
    ],
)
def test_a_path_becomes_relative_and_other_texts_stay(text, expected):
    folders = {"/data/me/out": "results", "/home/me/project": "", "../out": "resources", "/home/me": "home"}
    assert private_values.Replacements(folders, {"alice7": "account"}).text(text) == expected
