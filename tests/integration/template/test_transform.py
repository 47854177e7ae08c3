"""What CloudFormation gets of the template from SAM's transform."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEMPLATE = Path(__file__).parents[3] / "template.yaml"
# in SAM's own environment; it uploads what is built, and names where that lies
TRANSFORM = """
import json, sys, time
from types import SimpleNamespace
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse
time.time = lambda: float(sys.argv[3])
text = open(sys.argv[1], encoding="utf-8").read().replace(": build/", ": s3://bucket/build/")
print(json.dumps(transform(yaml_parse(text), json.loads(sys.argv[2]), SimpleNamespace(load=dict))))
"""


@pytest.fixture(scope="module")
def transform(tools: Path, environment: dict[str, str]) -> Callable[..., dict[str, Any]]:
    def transform(at: int = 0, **parameters: str) -> dict[str, Any]:
        python = str(tools / "sam/bin/python")
        command = [python, "-c", TRANSFORM, str(TEMPLATE), json.dumps(parameters), str(at)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        content: dict[str, Any] = json.loads(done.stdout)
        return content

    return transform


def names_in(node: Any, conditions: dict[str, Any]) -> set[str]:
    """Return the names that a node refers to, and those that its conditions depend on."""
    if isinstance(node, list):
        return {name for each in node for name in names_in(each, conditions)}
    if not isinstance(node, dict):
        return set()
    found = names_in(list(node.values()), conditions)
    if isinstance(node.get("Ref"), str):
        found.add(node["Ref"])
    if "Fn::Sub" in node:
        text = node["Fn::Sub"] if isinstance(node["Fn::Sub"], str) else node["Fn::Sub"][0]
        found |= set(re.findall(r"\$\{([\w:]+)", text))
    if "Fn::If" in node:
        found |= names_in(conditions[node["Fn::If"][0]], conditions)
    return found


def test_whatever_a_version_keeps_makes_a_new_one(transform: Callable[..., dict[str, Any]]) -> None:
    # the API runs a published version: what publishes no other one never reaches it
    content = transform()
    resources, conditions = content["Resources"], content["Conditions"]
    (version,) = (each for each in resources.values() if each["Type"] == "AWS::Lambda::Version")
    kept = resources["DetectFunction"]["Properties"].copy()
    # code makes SAM publish; the others are the function's, and no version's
    for name in ("Code", "Role", "ReservedConcurrentExecutions", "CodeSigningConfigArn"):
        del kept[name]
    layers = {name for name, each in resources.items() if each["Type"] == "AWS::Lambda::LayerVersion"}
    assert len(layers) == 2
    changing = names_in(kept, conditions) & (content["Parameters"].keys() | layers)
    assert {"Profile", "Architecture", "SnapStart", "KmsKeyArn", *layers} <= changing
    assert changing <= names_in(version["Properties"]["Description"], conditions)


def test_whatever_decides_who_may_call_reaches_the_stage(transform: Callable[..., dict[str, Any]]) -> None:
    def deployment(at: int, **parameters: str) -> str:
        resources = transform(at, **parameters)["Resources"].values()
        (stage,) = (each for each in resources if each["Type"] == "AWS::ApiGateway::Stage")
        return str(stage["Properties"]["DeploymentId"]["Ref"])

    # SAM sees references to parameters, not what they are, so each update deploys anew
    assert deployment(1) != deployment(2, ApiKeyRequired="true")
