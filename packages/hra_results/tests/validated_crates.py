"""Validate an RO-Crate without a network: python validated_crates.py CONTEXT FOLDER; prints the failed checks.

CONTEXT: the JSON-LD context of RO-Crate 1.1, which the validator otherwise downloads.
"""

import sys
import tempfile
from pathlib import Path

from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from rocrate_validator import services
from rocrate_validator.models import Severity, ValidationSettings
from urllib3 import HTTPResponse

CONTEXT, FOLDER = map(Path, sys.argv[1:])
URL = "https://w3id.org/ro/crate/1.1/context"


class Context(HTTPAdapter):
    def send(self, request, **_):
        head = {"Content-Type": "application/ld+json"}
        return self.build_response(
            request, HTTPResponse(CONTEXT.open("rb"), head, 200, preload_content=False, request_url=URL)
        )


with tempfile.TemporaryDirectory() as folder:
    cache = Path(folder) / "cache"
    session = CachedSession(str(cache), backend="sqlite")
    session.mount(URL, Context())
    session.get(URL, headers={"Accept": "application/ld+json, application/json, */*;q=0.1"})
    session.close()
    settings = ValidationSettings(
        rocrate_uri=str(FOLDER), profile_identifier="workflow-run-crate", requirement_severity=Severity.RECOMMENDED,
        cache_path=cache, offline=True,
    )  # fmt: skip
    found = services.validate(settings)
for issue in found.get_issues():
    print(f"{issue.severity.name}: {issue.check.identifier}: {issue.message} ({issue.violatingEntity})")
print(f"checks: {len(found.executed_checks)}")
