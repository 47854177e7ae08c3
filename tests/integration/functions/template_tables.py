"""The template's tables, so that tests use the keys that are deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

__all__ = ["template_table"]

ROOT = Path(__file__).parents[3]


def template_table(name: str) -> dict[str, Any]:
    """Return the arguments of create_table for a table of template.yaml, so that tests use the real keys."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, suffix, node: suffix)
    properties = yaml.load((ROOT / "template.yaml").read_text(encoding="utf-8"), Loader)["Resources"][name][
        "Properties"
    ]
    taken = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    return {key: properties[key] for key in taken if key in properties}
