"""The cluster's files: valid where a schema is at hand, and consistent with the code."""

import ipaddress
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml

from featherface_batch.pool import Limits, choose_pool

INFRA = Path(__file__).parents[3] / "infra" / "ray"
CRDS = os.environ.get("FEATHERFACE_KUBERAY_CRDS")


def test_the_aws_cluster_fits_rays_schema() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    cluster = yaml.safe_load((INFRA / "cluster.yaml").read_text())
    jsonschema.validate(cluster, schema)
    workers = [
        kind for name, kind in cluster["available_node_types"].items() if name != cluster["head_node_type"]
    ]
    assert all(kind["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"} for kind in workers)
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]


def test_no_node_is_open_to_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.autoscaler._private.aws import config as aws

    def upsert(_config: Any, node_types: list[str]) -> None:
        rules = aws._create_default_inbound_rules({"sg"})
        pytest.fail(f"Ray would make the group of {node_types}, with {rules}")

    monkeypatch.setattr(aws, "_upsert_security_groups", upsert)
    cluster = yaml.safe_load((INFRA / "cluster.yaml").read_text())
    kinds = aws._configure_security_group(cluster)["available_node_types"].values()
    (group,) = {name for kind in kinds for name in kind["node_config"]["SecurityGroupIds"]}
    rules = json.loads((INFRA / "security-group.json").read_text())
    within = [rule for rule in rules if "UserIdGroupPairs" in rule]
    assert [pair["GroupId"] for rule in within for pair in rule["UserIdGroupPairs"]] == [group]
    others = [rule for rule in rules if rule not in within]
    assert {(rule["FromPort"], rule["ToPort"]) for rule in others} == {(22, 22)}
    assert all(
        ipaddress.ip_network(network["CidrIp"]).is_private for rule in others for network in rule["IpRanges"]
    )


def test_a_node_logs_in_where_its_image_lies() -> None:
    cluster = yaml.safe_load((INFRA / "cluster.yaml").read_text())
    registry = cluster["docker"]["image"].partition("/")[0]
    (login,) = cluster["initialization_commands"]
    assert login.startswith("aws ecr get-login-password --region REGION | docker login ")
    assert login.endswith(f" {registry}")


def manifests() -> dict[str, dict[str, Any]]:
    found = {
        name: yaml.safe_load((INFRA / "kuberay" / f"{name}.yaml").read_text())
        for name in ("raycluster", "rayjob")
    }
    return {"raycluster": found["raycluster"]["spec"], "rayjob": found["rayjob"]["spec"]["rayClusterSpec"]}


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_every_account_that_a_pod_names_is_made_here(name: str) -> None:
    made = list(yaml.safe_load_all((INFRA / "kuberay" / "serviceaccounts.yaml").read_text()))
    for one in made:
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    names = {one["metadata"]["name"] for one in made if one["kind"] == "ServiceAccount"}
    spec = manifests()[name]

    def account(group: dict[str, Any]) -> str:
        return str(group["template"]["spec"]["serviceAccountName"])

    # the operator lets the head's account start and end pods
    head, workers = account(spec["headGroupSpec"]), {account(group) for group in spec["workerGroupSpecs"]}
    assert {head} | workers == names
    assert head not in workers


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Let a schema refuse what it does not name: a misspelt field would be dropped by the API server."""
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    # the names of properties are no keywords
    others = (part for keyword, part in schema.items() if keyword != "properties")
    for part in (*schema.get("properties", {}).values(), *others):
        for inner in part if isinstance(part, list) else [part]:
            if isinstance(inner, dict):
                closed(inner)
    return schema


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_a_manifest_fits_the_fields_of_kuberay(name: str) -> None:
    schema = closed(json.loads((Path(__file__).parent / "kuberay.schema.json").read_text()))
    manifest = yaml.safe_load((INFRA / "kuberay" / f"{name}.yaml").read_text())
    jsonschema.validate(manifest, schema)
    spec = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    spec["workerGroupSpecs"][0]["maxReplica"] = spec["workerGroupSpecs"][0].pop("maxReplicas")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, schema)


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_every_pod_fits_the_schema_of_kubernetes(name: str) -> None:
    spec = manifests()[name]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        template = group["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": template["spec"]}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


def test_a_misspelt_field_of_a_pod_is_seen() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a", "imag": "b"}]}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.skipif(
    not CRDS, reason="FEATHERFACE_KUBERAY_CRDS names no ray-operator/config/crd/bases of KubeRay"
)
@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_a_manifest_fits_kuberays_own_definition(name: str) -> None:
    definition = yaml.safe_load((Path(str(CRDS)) / f"ray.io_{name}s.yaml").read_text())
    (version,) = (v for v in definition["spec"]["versions"] if v["name"] == "v1")
    schema = version["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"type": "object"}
    jsonschema.validate(yaml.safe_load((INFRA / "kuberay" / f"{name}.yaml").read_text()), closed(schema))


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_a_kubernetes_cluster_is_closed_and_can_shrink_to_nothing(name: str) -> None:
    spec = manifests()[name]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert {group["groupName"] for group in spec["workerGroupSpecs"]} == {"cpu", "gpu"}
    assert all(group["minReplicas"] == 0 for group in spec["workerGroupSpecs"])
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["resources"]["requests"] == container["resources"]["limits"]


def test_the_job_of_kubernetes_is_a_command_that_exists() -> None:
    import argparse
    import shlex

    from featherface_batch.cli import command

    job = yaml.safe_load((INFRA / "kuberay" / "rayjob.yaml").read_text())["spec"]
    assert job["shutdownAfterJobFinishes"] is True
    program, *arguments = shlex.split(job["entrypoint"])
    parser = argparse.ArgumentParser()
    command(parser.add_subparsers())
    parsed = parser.parse_args(arguments)
    assert program == "featherface"
    assert (parsed.address, parsed.max_workers) == ("auto", 64)
    groups = manifests()["rayjob"]["workerGroupSpecs"]
    cpu, gpu = (group["template"]["spec"]["containers"][0]["resources"]["limits"] for group in groups)
    assert parsed.worker_cpus <= int(cpu["cpu"])
    # with the image for GPUs, and before there is a node
    limits = Limits(parsed.worker_cpus, max_workers=parsed.max_workers, max_gpu_workers=8)
    kinds = choose_pool([{"CPU": 0}], limits, device="auto", gpu_build=True)
    (worker,) = (kind for kind in kinds if kind.gpus)
    assert worker.cpus <= int(gpu["cpu"])
    assert worker.gpus <= int(gpu["nvidia.com/gpu"])


@pytest.mark.parametrize("name", ["worker", "head"])
def test_a_policy_names_what_it_allows(name: str) -> None:
    policy = json.loads((INFRA / "iam" / f"{name}-policy.json").read_text())
    for statement in policy["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not any("*" in action for action in actions)
        if statement["Resource"] == "*":
            # These have no narrower resource.
            assert all(":Describe" in action or action == "ecr:GetAuthorizationToken" for action in actions)


def statements(name: str) -> list[dict[str, Any]]:
    policy = json.loads((INFRA / "iam" / f"{name}-policy.json").read_text())
    found: list[dict[str, Any]] = policy["Statement"]
    return found


def test_the_head_may_do_what_the_job_on_it_does() -> None:
    """It pulls the same image as a worker; it lists, and writes the plan, the lease and the outputs."""
    head = statements("head")
    assert all(statement in head for statement in statements("worker"))
    # AWS counts no white space
    text = "".join((INFRA / "iam" / "head-policy.json").read_text().split())
    assert len(text) <= 6144


@pytest.mark.parametrize("name", ["worker", "head"])
def test_what_is_not_there_is_missing_and_not_denied(name: str) -> None:
    """S3 says 404 to those alone who may list, and no request for an object has a prefix to compare."""
    (listing,) = (one for one in statements(name) if one["Action"] == "s3:ListBucket")
    assert "Condition" not in listing
    buckets = {f"arn:aws:s3:::{bucket}" for bucket in ("SOURCE-BUCKET", "OUTPUT-BUCKET")}
    assert set(listing["Resource"]) == buckets


def test_the_image_for_gpus_has_the_same_packages_but_for_onnxruntime_and_its_cuda() -> None:
    def pinned(name: str) -> set[str]:
        lines = (INFRA.parents[1] / "requirements" / name).read_text().splitlines()
        return {line.rstrip("\\ ") for line in lines if "==" in line and line[0].isalnum()}

    cpu, gpu = pinned("batch.lock"), pinned("batch-gpu.lock")
    assert {line.partition("==")[0] for line in cpu - gpu} == {"onnxruntime"}
    added = {line.partition("==")[0] for line in gpu - cpu}
    assert "onnxruntime-gpu" in added
    assert all(name.startswith(("nvidia-", "onnxruntime")) for name in added)
    # both have the same files; a condition that never holds keeps the one for CPUs out
    assert [line for line in gpu if line.startswith("onnxruntime==") and "'never'" in line]
