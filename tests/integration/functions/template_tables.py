"""The template's resources, so that tests use the keys and the limits that are deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

__all__ = ["template_properties", "template_table"]

ROOT = Path(__file__).parents[3]


def template_properties(name: str) -> dict[str, Any]:
    """Return the properties of a resource of template.yaml, of whose functions the names alone are left."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, suffix, node: suffix)
    template = yaml.load((ROOT / "template.yaml").read_text(encoding="utf-8"), Loader)
    properties: dict[str, Any] = template["Resources"][name]["Properties"]
    return properties


def template_table(name: str) -> dict[str, Any]:
    """Return the arguments of create_table for a table of template.yaml, so that tests use the real keys."""
    properties = template_properties(name)
    taken = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    return {key: properties[key] for key in taken if key in properties}
