"""What every rule records, by name; test_config_reruns.py tries what keys of the config repeat, one by one at night."""

import yaml

import rule_jobs
from support import ROOT

TABLE = ROOT / "tests/data/identities.yaml"


def test_every_rule_records_what_its_result_depends_on():
    stated = {rule: set(names) for rule, names in yaml.safe_load(TABLE.read_text()).items()}
    recorded = {
        rule: {f"{name} (constant)" if name in of["constant"] else name for name in of["settings"]}
        | {f"< {name}" for name in of["before"]}
        for rule, of in rule_jobs.names().items()
    }
    wrong = []
    for rule in sorted(stated.keys() | recorded.keys()):
        kept, found = stated.get(rule, set()), recorded.get(rule, set())
        if lost := sorted(kept - found):
            wrong.append(
                f"{rule} no longer depends on {', '.join(lost)}: another value would leave its finished results "
                f"as they are. Give them to its made_from(…); if they change no result, remove them from {TABLE}."
            )
        if new := sorted(found - kept):
            wrong.append(
                f"{rule} now depends on {', '.join(new)}: all its finished jobs run again. Use unrecorded(…) for what "
                f"changes no result; otherwise add them to {TABLE} and write it in CHANGELOG.md."
            )
    assert not wrong, "\n".join(wrong)
