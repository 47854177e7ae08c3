"""What the tools of the trade say about the template; each waiver stands in it with its reason."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEMPLATE = str(ROOT / "template.yaml")
FARGATE = str(ROOT / "infra/fargate/template.yaml")


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    # away from the repository, whose folders have nothing to do with it
    return subprocess.run(
        command, env=environment, cwd=environment["HOME"], capture_output=True, text=True, check=False
    )


def test_sam_finds_it_valid(tools: Path, environment: dict[str, str]) -> None:
    done = run(environment, str(tools / "sam/bin/sam"), "validate", "--lint", "--template-file", TEMPLATE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("template", [TEMPLATE, FARGATE])
def test_checkov_finds_nothing_that_has_no_reason(
    tools: Path, environment: dict[str, str], template: str
) -> None:
    command = ["--file", template, "--framework", "cloudformation", "--output", "json", "--skip-download"]
    done = run(environment, str(tools / "checkov/bin/checkov"), *command)
    report = json.loads(done.stdout)
    failed = [(check["check_id"], check["resource"]) for check in report["results"]["failed_checks"]]
    assert failed == []
    assert report["summary"]["passed"] > 20
    for check in report["results"]["skipped_checks"]:
        assert len(check["check_result"]["suppress_comment"]) > 20
