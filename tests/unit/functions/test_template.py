from __future__ import annotations

from pathlib import Path

from cfnlint.api import lint_file

TEMPLATE = Path(__file__).parents[3] / "template.yaml"


def test_the_template_has_nothing_that_cfn_lint_minds() -> None:
    assert [str(match) for match in lint_file(TEMPLATE)] == []
