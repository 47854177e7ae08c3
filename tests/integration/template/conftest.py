"""The template as it is deployed: built, packaged by SAM, created in an emulator that runs the functions."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from examples.demo.ports import reserved_port
from layers import build_layer

ROOT = Path(__file__).parents[3]
TOOLS = ROOT / ".tools"
REGION = "us-east-1"
# the one that the emulator takes calls without a signature to be for
ACCOUNT = "000000000000"
# The functions run in whichever Python the tests have, so that they need no second one.
RUNTIME = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of environments that `make tools` creates."""
    if not (TOOLS / "cloud/.installed").is_file():
        pytest.skip("make tools creates the environments that this needs")
    return TOOLS


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What commands of SAM and the emulator see: nothing of the developer's own account."""
    home = tmp_path_factory.mktemp("home")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "SAM_CLI_TELEMETRY": "0",
    }


@pytest.fixture(scope="session")
def project(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the template and what `make layer` writes beside it."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "template.yaml", folder)
    python, machine = str(tools / "cloud/bin/python"), os.uname().machine.replace("aarch64", "arm64")
    uv = str(Path(sys.executable).parent / "uv")
    build_layer.build(uv, python, machine, folder / "build", RUNTIME)
    build_layer.build_functions(python, folder / "build/functions", RUNTIME)
    for other in build_layer.PLATFORMS.keys() - {machine}:
        # a condition of the template leaves it out, but SAM packages whatever is named
        (folder / "build/layer" / other / "python").mkdir(parents=True)
        (folder / "build/layer" / other / "python/none").touch()
    return folder


@pytest.fixture(scope="session")
def cloud(
    tools: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The emulator's address."""
    port = reserved_port()
    folder = tmp_path_factory.mktemp("cloud")
    own = {"GATEWAY_PORT": str(port), "MINISTACK_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0"}
    command = ["-m", "hypercorn", "ministack.app:app", "-b", f"127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(tools / "cloud/bin/python"), *command],
            cwd=folder,
            env={**environment, **own, "TMPDIR": str(folder)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _until(lambda: _connects(port), 60, "the emulator does not start")
            yield f"http://127.0.0.1:{port}"
        finally:
            # with its workers, which run the functions
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _until(done: Any, seconds: float, message: str) -> Any:
    end = time.monotonic() + seconds
    while not (found := done()):
        if time.monotonic() > end:
            raise AssertionError(message)
        time.sleep(0.2)
    return found


@pytest.fixture(scope="session")
def packaged(project: Path, tools: Path, environment: dict[str, str], cloud: str) -> str:
    """The template as `sam package` writes it, with code and layers uploaded."""
    target = project / "packaged.yaml"
    _client(cloud, "s3").create_bucket(Bucket="artifacts")
    command = ["package", "--template-file", str(project / "template.yaml"), "--s3-bucket", "artifacts"]
    subprocess.run(
        [str(tools / "sam/bin/sam"), *command, "--output-template-file", str(target)],
        env={**environment, "AWS_ENDPOINT_URL": cloud},
        cwd=project,
        check=True,
        capture_output=True,
    )
    return target.read_text(encoding="utf-8")


def _client(cloud: str, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=cloud,
        region_name=REGION,
        aws_access_key_id=ACCOUNT,
        aws_secret_access_key="testing",
    )


@dataclass
class Stack:
    """A deployed template."""

    cloud: str
    name: str

    def client(self, service: str) -> Any:
        return _client(self.cloud, service)

    def output(self, name: str) -> str:
        (stack,) = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return next(str(each["OutputValue"]) for each in stack["Outputs"] if each["OutputKey"] == name)

    def resources(self, kind: str) -> dict[str, str]:
        """Return physical by logical names of one type's resources."""
        found = self.client("cloudformation").describe_stack_resources(StackName=self.name)["StackResources"]
        return {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in found
            if each["ResourceType"] == kind
        }

    def call(
        self,
        method: str,
        path: str,
        members: Mapping[str, Any] | None = None,
        *,
        signed: bool = True,
        token: str | None = None,
        key: str | None = None,
    ) -> tuple[int, Any]:
        """Send a request to the API, signed or with a user's token: status and JSON come back.

        With `key`, the value of an API key goes along.
        """
        url = f"{self.api_url()}{path}"
        body = None if members is None else json.dumps(members).encode()
        request = AWSRequest(method, url, headers={"Content-Type": "application/json"}, data=body)
        if key:
            request.headers["x-api-key"] = key
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        elif signed:
            credentials = boto3.Session(ACCOUNT, "testing").get_credentials()
            SigV4Auth(credentials, "execute-api", REGION).add_auth(request)
        sent = urllib.request.Request(url, body, dict(request.headers), method=method)
        try:
            with urllib.request.urlopen(sent, timeout=120) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def api_url(self) -> str:
        """Return the address of the API's stage within the emulator."""
        api = self.output("ApiUrl").removeprefix("https://").partition(".")[0]
        return f"{self.cloud}/restapis/{api}/live/_user_request_"

    def result(self, key: str) -> dict[str, Any] | None:
        """Return what came of a photo, or None."""
        s3 = self.client("s3")
        try:
            answer = s3.get_object(Bucket=self.output("ResultsBucket"), Key=f"results/{key}.json")
        except s3.exceptions.NoSuchKey:
            return None
        document: dict[str, Any] = json.loads(answer["Body"].read())
        return document

    def wait_for_result(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = _until(lambda: self.result(key), 120, f"no result for {key}")
        return found

    def wait_for_removal(self, key: str) -> None:
        _until(lambda: self.result(key) is None, 120, f"the result of {key} stays")


def deploy(cloud: str, packaged: str, name: str, **parameters: str) -> Stack:
    """Create a stack; raises AssertionError with the emulator's reasons if it fails."""
    machine = os.uname().machine.replace("aarch64", "arm64")
    given = {"Architecture": machine, **parameters}
    cloudformation = _client(cloud, "cloudformation")
    # a template of this size is taken from S3 only, where `sam deploy` puts it by itself
    _client(cloud, "s3").put_object(Bucket="artifacts", Key=f"{name}.yaml", Body=packaged.encode())
    cloudformation.create_stack(
        StackName=name,
        TemplateURL=f"{cloud}/artifacts/{name}.yaml",
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
    )

    def settled() -> str | None:
        status = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
        return None if status.endswith("IN_PROGRESS") else str(status)

    status = _until(settled, 120, f"the stack {name} is not created")
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    reasons = [
        (event["LogicalResourceId"], event.get("ResourceStatusReason"))
        for event in events
        if "FAILED" in event["ResourceStatus"]
    ]
    assert (status, reasons) == ("CREATE_COMPLETE", [])
    stack = Stack(cloud, name)
    functions = stack.client("lambda")
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        # CloudFormation makes a number of the parameter's text; the emulator keeps the text and trips over it
        functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": 2})
    return stack


@pytest.fixture(scope="session")
def stack(cloud: str, packaged: str) -> Stack:
    """The template with a queue and a definition of AWS Batch for its jobs."""
    batch = _client(cloud, "batch")
    batch.create_compute_environment(computeEnvironmentName="bulk", type="UNMANAGED", state="ENABLED")
    batch.create_job_queue(
        jobQueueName="bulk",
        state="ENABLED",
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": "bulk"}],
    )
    batch.register_job_definition(
        jobDefinitionName="annotate",
        type="container",
        containerProperties={"image": "featherface", "vcpus": 1, "memory": 1024, "command": ["true"]},
    )
    return deploy(cloud, packaged, "featherface", BatchJobQueue="bulk", BatchJobDefinition="annotate")


@pytest.fixture(scope="session")
def guarded(cloud: str, packaged: str) -> Stack:
    """The template with its options: a user pool, keys of one's own, snapshots, an alarm's topic."""
    pool = _client(cloud, "cognito-idp").create_user_pool(PoolName="callers")["UserPool"]
    key = _client(cloud, "kms").create_key()["KeyMetadata"]["Arn"]
    topic = _client(cloud, "sns").create_topic(Name="alarms")["TopicArn"]
    arn = f"arn:aws:cognito-idp:{REGION}:{ACCOUNT}:userpool/{pool['Id']}"
    return deploy(
        cloud,
        packaged,
        "guarded",
        UserPoolArn=arn,
        KmsKeyArn=key,
        SnapStart="PublishedVersions",
        AlarmTopicArn=topic,
        Profile="edge_device",
        ApiKeyRequired="true",
        RequestsPerDay="1234",
    )
