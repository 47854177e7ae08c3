from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cfnlint.api import lint_file
from layers.emulator import VARIABLES

from detect.openapi import document
from detect.requests import BINARY_TYPES

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "template.yaml"
FUNCTIONS = ("IngestFunction", "DetectFunction", "JobsFunction")


class Loader(yaml.SafeLoader):
    """Reads short forms of intrinsic functions as their arguments."""


def construct(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)  # type: ignore[arg-type]


Loader.add_multi_constructor("!", construct)


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    content: dict[str, Any] = yaml.load(TEMPLATE.read_text(encoding="utf-8"), Loader)
    return content


def properties(template: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"][name]["Properties"]
    return found


def test_the_template_has_nothing_that_cfn_lint_minds() -> None:
    assert [str(match) for match in lint_file(TEMPLATE)] == []


def test_every_described_operation_reaches_its_function_with_a_known_caller(template: dict[str, Any]) -> None:
    body = properties(template, "Api")["DefinitionBody"]
    operations = {
        (path, method): operation
        for path, item in body["paths"].items()
        for method, operation in item.items()
    }
    described = {(path, method) for path, item in document()["paths"].items() for method in item}
    assert operations.keys() == described
    for (path, _), operation in operations.items():
        # the loader reads !If as its arguments
        assert operation["security"] == ["NeedsApiKey", [{"caller": [], "key": []}], [{"caller": []}]]
        function = "JobsFunction" if path.startswith("/v1/jobs") else "DetectFunction"
        assert function in operation["x-amazon-apigateway-integration"]["uri"]
    definitions = body["securityDefinitions"]
    assert list(definitions) == ["caller", "key"]
    # by this name API Gateway knows that a method requires a key
    assert definitions["key"] == {"type": "apiKey", "name": "x-api-key", "in": "header"}


def test_every_call_is_limited_and_those_with_a_key_by_the_day(template: dict[str, Any]) -> None:
    (settings,) = properties(template, "Api")["MethodSettings"]
    assert (settings["ResourcePath"], settings["HttpMethod"]) == ("/*", "*")
    assert settings["ThrottlingRateLimit"] == settings["ThrottlingBurstLimit"] == "RequestsPerSecond"
    assert properties(template, "ApiPlan")["Throttle"] == dict.fromkeys(
        ("RateLimit", "BurstLimit"), "KeyRequestsPerSecond"
    )
    assert properties(template, "ApiPlan")["Quota"] == {"Limit": "RequestsPerDay", "Period": "DAY"}
    assert properties(template, "ApiPlan")["ApiStages"] == [{"ApiId": "Api", "Stage": "Api.Stage"}]
    for name in ("ApiPlan", "ApiPlanKey", "ApiKey"):
        assert template["Resources"][name]["Condition"] == "NeedsApiKey"


def test_every_parameter_is_read(template: dict[str, Any]) -> None:
    text = TEMPLATE.read_text(encoding="utf-8")
    for name in template["Parameters"]:
        assert re.search(rf"!Ref {name}\b|\$\{{{name}\}}", text), name


def test_the_gateway_passes_photos_on_as_bytes(template: dict[str, Any]) -> None:
    types = {name.replace("~1", "/") for name in properties(template, "Api")["BinaryMediaTypes"]}
    assert types == set(BINARY_TYPES)


def test_what_the_gateway_refuses_itself_is_a_problem_of_the_api_s_form(template: dict[str, Any]) -> None:
    responses = properties(template, "Api")["GatewayResponses"]
    assert {
        "UNAUTHORIZED",
        "ACCESS_DENIED",
        "THROTTLED",
        "QUOTA_EXCEEDED",
        "INVALID_API_KEY",
        "REQUEST_TOO_LARGE",
        "RESOURCE_NOT_FOUND",
        "INTEGRATION_TIMEOUT",
        # a function that crashes or is killed is none of the types with names of their own
        "DEFAULT_5XX",
    } <= set(responses)
    schema = document()["components"]["schemas"]["Problem"]
    for response in responses.values():
        (text,) = response["ResponseTemplates"].values()
        problem = json.loads(text)
        jsonschema.validate(problem, schema)
        assert problem["status"] == response["StatusCode"]
        assert problem["type"].endswith(problem["code"])
        assert response["ResponseParameters"]["Headers"]["Content-Type"] == "'application/problem+json'"


def test_messages_stay_hidden_for_six_time_outs(template: dict[str, Any]) -> None:
    assert (
        properties(template, "UploadQueue")["VisibilityTimeout"]
        == 6 * properties(template, "IngestFunction")["Timeout"]
    )


def test_what_is_measured_allocates_as_what_is_deployed(template: dict[str, Any]) -> None:
    deployed = template["Globals"]["Function"]["Environment"]["Variables"]
    names = {name for name in deployed if name.startswith("MALLOC_")}
    assert names
    assert {name: deployed[name] for name in names} == {name: VARIABLES[name] for name in names}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_get_the_variables_that_they_read(template: dict[str, Any], name: str) -> None:
    folder = properties(template, name)["Handler"].partition(".")[0]
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "functions" / folder).glob("*.py")]
    read = {found for source in sources for found in re.findall(r'required\("(\w+)"\)', source)}
    own = properties(template, name).get("Environment", {}).get("Variables", {})
    assert read <= own.keys() | template["Globals"]["Function"]["Environment"]["Variables"].keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_statements_name_actions_and_resources(template: dict[str, Any], name: str) -> None:
    for policy in properties(template, name)["Policies"]:
        assert isinstance(policy, dict), "SAM's policy templates grant more than is needed"
        for statement in policy["Statement"]:
            actions = statement["Action"]
            for action in [actions] if isinstance(actions, str) else actions:
                assert "*" not in action
            assert statement["Resource"] != "*" or statement["Action"] == [
                "batch:DescribeJobs",
                "batch:ListJobs",
            ]


def test_what_is_stored_is_private_encrypted_and_versioned(template: dict[str, Any]) -> None:
    for bucket in ("PhotosBucket", "ResultsBucket"):
        found = properties(template, bucket)
        assert all(found["PublicAccessBlockConfiguration"].values())
        assert len(found["PublicAccessBlockConfiguration"]) == 4
        assert found["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert found["VersioningConfiguration"]["Status"] == "Enabled"
        (statement,) = properties(template, f"{bucket}Policy")["PolicyDocument"]["Statement"]
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    for table in ("IndexTable", "IdempotencyTable", "JobsTable"):
        found = properties(template, table)
        assert found["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]
        assert found["TimeToLiveSpecification"]["Enabled"]
        assert found["SSESpecification"]["SSEEnabled"]


def test_results_follow_whatever_removes_a_photo(template: dict[str, Any]) -> None:
    bucket = properties(template, "PhotosBucket")
    events = {each["Event"] for each in bucket["NotificationConfiguration"]["QueueConfigurations"]}
    assert events == {"s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"}
    # the loader reads !If as its arguments
    always, (condition, uploads, _) = bucket["LifecycleConfiguration"]["Rules"]
    assert "ExpirationInDays" not in always
    assert (condition, uploads["Prefix"]) == ("UploadsExpire", "uploads/")


def test_a_key_of_one_s_own_is_for_all_that_is_stored(template: dict[str, Any]) -> None:
    stored = ("AWS::S3::Bucket", "AWS::SQS::Queue", "AWS::DynamoDB::Table", "AWS::Logs::LogGroup")
    found = {name: entry for name, entry in template["Resources"].items() if entry["Type"] in stored}
    assert len(found) > 10
    for name, entry in found.items():
        assert "KmsKeyArn" in json.dumps(entry["Properties"]), name
    (statement,) = properties(template, "KeyAccess")["PolicyDocument"]["Statement"]
    assert statement["Resource"] == "KmsKeyArn"
    assert {f"{name}Role" for name in FUNCTIONS} == set(properties(template, "KeyAccess")["Roles"])
