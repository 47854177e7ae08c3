"""The stack that runs bulk jobs on Fargate, in the emulator, which keeps jobs and runs no containers."""

from __future__ import annotations

import ast
import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint_file

from featherface import __version__
from jobs.backends import AwsBatch

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "infra/fargate/template.yaml"
BUCKETS = {"PhotosBucket": "photos-of-the-stack", "ResultsBucket": "results-of-the-stack"}
Stack = tuple[dict[str, str], dict[str, str]]


@pytest.fixture(scope="module")
def stack(endpoint: str, aws: Callable[[str], Any]) -> Stack:
    """The stack's outputs, and its resources' physical by logical names."""
    config = json.dumps({"batch": {"use_docker": False}}).encode()
    urllib.request.urlopen(
        urllib.request.Request(f"{endpoint}/moto-api/config", config, method="POST")
    ).close()
    # the emulator knows no role of Batch's own
    text = TEMPLATE.read_text(encoding="utf-8").replace(
        "      Type: MANAGED\n", "      Type: MANAGED\n      ServiceRole: !GetAtt StartRole.Arn\n"
    )
    subnet = aws("ec2").describe_subnets()["Subnets"][0]
    given = {**BUCKETS, "VpcId": subnet["VpcId"], "SubnetIds": subnet["SubnetId"]}
    cloudformation = aws("cloudformation")
    cloudformation.create_stack(
        StackName="fargate",
        TemplateBody=text,
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
    )
    (made,) = cloudformation.describe_stacks(StackName="fargate")["Stacks"]
    assert made["StackStatus"] == "CREATE_COMPLETE"
    resources = cloudformation.describe_stack_resources(StackName="fargate")["StackResources"]
    return (
        {each["OutputKey"]: each["OutputValue"] for each in made["Outputs"]},
        # the emulator lists one more, without a name
        {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in resources
            if "LogicalResourceId" in each
        },
    )


def test_cfn_lint_minds_nothing() -> None:
    assert [str(match) for match in lint_file(TEMPLATE)] == []


def test_its_outputs_are_what_jobs_are_submitted_to(stack: Stack, aws: Callable[[str], Any]) -> None:
    outputs, resources = stack
    batch = aws("batch")
    backend = AwsBatch(batch, outputs["BatchJobQueue"], outputs["BatchJobDefinition"])
    command = ["featherface", "annotate", "s3://photos-of-the-stack/2026"]
    (job,) = batch.describe_jobs(jobs=[backend.submit("0f", command)])["jobs"]
    assert job["container"]["command"] == command
    # the main template's policy has names in its ARNs
    assert not {":", "/"} & set("".join(outputs.values()))
    (definition,) = batch.describe_job_definitions(jobDefinitionName=outputs["BatchJobDefinition"])[
        "jobDefinitions"
    ]
    container = definition["containerProperties"]
    assert container["image"].endswith(f"/featherface-batch:{__version__}")
    assert container["jobRoleArn"].endswith(f"/{resources['JobRole']}")
    assert container["executionRoleArn"].endswith(f"/{resources['StartRole']}")
    # Batch's user guide, "Fargate": 8 CPUs go with 16 to 60 GB, in steps of 4
    needs = {need["type"]: int(need["value"]) for need in container["resourceRequirements"]}
    assert needs == {"VCPU": 8, "MEMORY": 32 * 1024}


def test_a_job_may_do_what_a_worker_of_a_cluster_may(stack: Stack, aws: Callable[[str], Any]) -> None:
    _, resources = stack

    def rights(name: str, policy: str) -> dict[str, tuple[set[str], set[str]]]:
        document = aws("iam").get_role_policy(RoleName=resources[name], PolicyName=policy)["PolicyDocument"]
        # the emulator keeps what CloudFormation hands it as Python writes it
        return read(ast.literal_eval(document) if isinstance(document, str) else document)

    def read(document: Any) -> dict[str, tuple[set[str], set[str]]]:
        def all_of(value: Any) -> set[str]:
            return {value} if isinstance(value, str) else set(value)

        return {
            each["Sid"]: (all_of(each["Action"]), all_of(each["Resource"])) for each in document["Statement"]
        }

    job = rights("JobRole", "annotate")
    workers = read(json.loads((ROOT / "infra/ray/iam/worker-policy.json").read_text(encoding="utf-8")))
    assert {sid: actions for sid, (actions, _) in job.items()} == {
        sid: workers[sid][0] for sid in ("ListSourceAndOutput", "ReadPhotos", "KeepTheRun")
    }
    assert job["ReadPhotos"][1] == {"arn:aws:s3:::photos-of-the-stack/*"}
    # where the API lets jobs write
    assert job["KeepTheRun"][1] == {"arn:aws:s3:::results-of-the-stack/jobs/*"}
    start = rights("StartRole", "start")
    assert {action.partition(":")[0] for actions, _ in start.values() for action in actions} == {
        "ecr",
        "logs",
    }


def test_every_parameter_is_read() -> None:
    text = TEMPLATE.read_text(encoding="utf-8")
    parameters = re.findall(r"^  (\w+):\n    Type: ", text.partition("Mappings:")[0], re.MULTILINE)
    assert len(parameters) > 10
    for name in parameters:
        assert re.search(rf"!Ref {name}\b|\$\{{{name}\}}", text), name
