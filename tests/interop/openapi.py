"""The OpenAPI document: a linter reads it, and schemathesis drives every endpoint by it."""

import subprocess
import sys

from harness import FOLDER, Issuer, check, fetch_json, script
from openapi_spec_validator import OpenAPIV31SpecValidator

# No 5xx, and nothing of an answer that the document does not say.
CHECKS = ",".join(
    f"{of}_conformance" for of in ("status_code", "content_type", "response_headers", "response_schema")
)
CHECKS += ",not_a_server_error"


def run():
    secret = "the-secret-of-the-notes-service-in-tests-alone"
    ours = Issuer("ES256", introspection_clients={"notes": secret}, password_min=8)
    document = fetch_json(f"{ours.url}/auth/openapi.json")
    check("openapi-spec-validator finds nothing", lambda: OpenAPIV31SpecValidator(document).validate())

    def driven(*flags):
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{ours.url}/auth/openapi.json", "--checks", CHECKS]
        command += ["--phases", "coverage,fuzzing", "--max-examples", "10", "--seed", "7", "--workers", "2", *flags]
        done = subprocess.run(command, cwd=FOLDER, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout
        assert "Operations:       0 selected" not in done.stdout, done.stdout

    check("schemathesis drives every endpoint", driven)
    token = ours.login()["access_token"]
    # What ends no session, or the rest would be asked by nobody again.
    paths = [flag for path in ("/me", "/sessions", "/password") for flag in ("--include-path", path)]
    somebody = ["--exclude-method", "DELETE", "--header", f"Authorization: Bearer {token}"]
    check("and as somebody", lambda: driven(*paths, *somebody))


script(run)
