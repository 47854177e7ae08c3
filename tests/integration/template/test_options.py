"""The template's options, as deployed."""

from __future__ import annotations

from typing import Any


def test_callers_of_a_pool_need_its_token_and_a_key(guarded: Any) -> None:
    gateway = guarded.client("apigateway")
    key = gateway.get_api_key(apiKey=guarded.output("ApiKeyId"), includeValue=True)["value"]
    # a signature, which is what the template asks for without a pool, is none
    assert guarded.call("GET", "/v1/health", key=key)[0] == 401
    assert guarded.call("GET", "/v1/health", token="made.up.token", key=key)[0] == 401
    cognito, password = guarded.client("cognito-idp"), "A-password-of-1-test"
    (pool,) = (each["Id"] for each in cognito.list_user_pools(MaxResults=10)["UserPools"])
    app = cognito.create_user_pool_client(
        UserPoolId=pool, ClientName="app", ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH"]
    )["UserPoolClient"]["ClientId"]
    cognito.admin_create_user(UserPoolId=pool, Username="alice", MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=pool, Username="alice", Password=password, Permanent=True)
    answer = cognito.admin_initiate_auth(
        UserPoolId=pool,
        ClientId=app,
        AuthFlow="ADMIN_USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": "alice", "PASSWORD": password},
    )
    token = answer["AuthenticationResult"]["IdToken"]
    assert guarded.call("GET", "/v1/health", token=token)[0] == 403
    assert guarded.call("GET", "/v1/health", token=token, key="made-up-key-of-twenty-letters")[0] == 403
    status, health = guarded.call("GET", "/v1/health", token=token, key=key)
    assert (status, health.get("status")) == (200, "ok"), health
    assert health["model_info"]["precision"] == "int8"
    (plan,) = gateway.get_usage_plans(keyId=guarded.output("ApiKeyId"))["items"]
    assert (plan["quota"]["limit"], plan["quota"]["period"]) == (1234, "DAY")
    assert [stage["stage"] for stage in plan["apiStages"]] == ["live"]


def test_a_key_of_one_s_own_encrypts_queues_and_logs(guarded: Any) -> None:
    (key,) = (each["KeyArn"] for each in guarded.client("kms").list_keys()["Keys"])
    # of buckets and tables the emulator keeps no encryption; the template's own test looks at those
    sqs, logs = guarded.client("sqs"), guarded.client("logs")
    for url in guarded.resources("AWS::SQS::Queue").values():
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert found["KmsMasterKeyId"] == key
    names = set(guarded.resources("AWS::Logs::LogGroup").values())
    groups = [each for each in logs.describe_log_groups()["logGroups"] if each["logGroupName"] in names]
    assert {group.get("kmsKeyId") for group in groups} == {key}


def test_published_versions_start_from_snapshots(guarded: Any) -> None:
    name = guarded.resources("AWS::Lambda::Function")["DetectFunction"]
    versions = guarded.client("lambda").list_versions_by_function(FunctionName=name)["Versions"]
    published = [each for each in versions if each["Version"] != "$LATEST"]
    assert published
    assert all(each["SnapStart"]["ApplyOn"] == "PublishedVersions" for each in published)


def test_a_photo_gets_its_result_with_the_edge_profile(guarded: Any) -> None:
    guarded.client("s3").put_object(Bucket=guarded.output("PhotosBucket"), Key="broken", Body=b"broken")
    assert guarded.wait_for_result("broken")["error"]["code"] == "unsupported_format"
