"""What every rule records, by name; test_config_reruns.py tries what keys of the config repeat, one by one at night."""

import yaml

import rule_jobs
from support import ROOT

TABLE = ROOT / "tests/data/identities.yaml"


def test_every_rule_records_what_its_result_depends_on():
    stated = {rule: set(names) for rule, names in yaml.safe_load(TABLE.read_text()).items()}
    recorded = {
        rule: {f"{name} (constant)" if name in of["constant"] else name for name in of["identity"]}
        for rule, of in rule_jobs.names().items()
    }
    wrong = []
    for rule in sorted(stated.keys() | recorded.keys()):
        kept, found = stated.get(rule, set()), recorded.get(rule, set())
        if lost := sorted(kept - found):
            wrong.append(
                f"{rule} no longer records {', '.join(lost)}: another value would leave its finished results as they "
                f"are. Give the rule these params with recorded(…); if they change no result, remove them from {TABLE}."
            )
        if new := sorted(found - kept):
            wrong.append(
                f"{rule} now records {', '.join(new)}: all its finished jobs run again. Use unrecorded(…) for what "
                f"changes no result; otherwise add them to {TABLE} and write it in CHANGELOG.md."
            )
    assert not wrong, "\n".join(wrong)
