"""The cluster's files: valid where a schema is at hand, and consistent with the code."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

INFRA = Path(__file__).parents[3] / "infra" / "ray"


def test_the_aws_cluster_fits_rays_schema() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    cluster = yaml.safe_load((INFRA / "cluster.yaml").read_text())
    jsonschema.validate(cluster, schema)
    workers = [
        kind for name, kind in cluster["available_node_types"].items() if name != cluster["head_node_type"]
    ]
    assert all(kind["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"} for kind in workers)
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert {rule["FromPort"] for rule in cluster["provider"]["security_group"]["IpPermissions"]} == {22}


def manifests() -> dict[str, dict[str, Any]]:
    found = {path.stem: yaml.safe_load(path.read_text()) for path in (INFRA / "kuberay").glob("*.yaml")}
    return {"raycluster": found["raycluster"]["spec"], "rayjob": found["rayjob"]["spec"]["rayClusterSpec"]}


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
    assert parsed.worker_cpus <= int(
        groups[0]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]
    )


@pytest.mark.parametrize("name", ["worker", "head"])
def test_a_policy_names_what_it_allows(name: str) -> None:
    policy = json.loads((INFRA / "iam" / f"{name}-policy.json").read_text())
    for statement in policy["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not any("*" in action for action in actions)
        if statement["Resource"] == "*":
            # These have no narrower resource.
            assert all(":Describe" in action or action == "ecr:GetAuthorizationToken" for action in actions)
