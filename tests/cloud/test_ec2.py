"""EC2: what moto does not do is answered by botocore's own stub, in the words of the API's reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from cncp.errors import CncpError, UsageError
from cncp.pools.cloud import ec2 as module
from cncp.pools.cloud.ec2 import Ec2
from cncp.pools.cloud.provider import (
    BATCH,
    CLUSTER,
    Limits,
    NoCapacity,
    Order,
    QuotaExceeded,
    Template,
    Throttled,
    Unsure,
)

ID = "0f3a9c1e55aa7b20"
ORDER = Order("b" * 16, 2, "#!/bin/sh\n", {CLUSTER: ID, BATCH: "b" * 16}, token="b" * 16)


@pytest.fixture
def region(ec2: str, monkeypatch: pytest.MonkeyPatch) -> Ec2:
    """A region whose image and group are there."""
    made = Ec2({"provider": "ec2"}, Template("ami-03cf127a", "t3.micro"))
    group = made._group(ORDER)
    monkeypatch.setattr(made, "_group", lambda _: group)
    return made


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("InsufficientInstanceCapacity", 500, NoCapacity),
        ("InsufficientHostCapacity", 500, NoCapacity),
        ("InsufficientFreeAddressesInSubnet", 400, NoCapacity),
        ("SpotMaxPriceTooLow", 400, NoCapacity),
        ("Unsupported", 400, NoCapacity),
        ("InstanceLimitExceeded", 400, QuotaExceeded),
        ("VcpuLimitExceeded", 400, QuotaExceeded),
        ("MaxSpotInstanceCountExceeded", 400, QuotaExceeded),
        ("RequestLimitExceeded", 503, Throttled),
        ("Throttling", 400, Throttled),
        ("InternalError", 500, Unsure),
        ("Unavailable", 503, Unsure),
        ("SomethingNew", 500, Unsure),
        ("UnauthorizedOperation", 403, CncpError),
        ("InvalidAMIID.NotFound", 400, CncpError),
        ("InvalidParameterValue", 400, CncpError),
    ],
)
def test_refusals(region: Ec2, code: str, status: int, kind: type[CncpError]) -> None:
    """Each is one of the four kinds or final, in EC2's words, and is asked once: not for half an hour (ray#2138)."""
    with Stubber(region._makes) as stub:
        stub.add_client_error("run_instances", code, "in its own words", status)
        with pytest.raises(CncpError, match=f"EC2 in eu-west-1: {code}: in its own words") as caught:
            region.create(ORDER)
        stub.assert_no_pending_responses()
    assert type(caught.value) is kind
    assert caught.value.hint


def test_what_is_asked_for(region: Ec2) -> None:
    """The token is the batch's, tags come with it, they end when switched off, and their metadata is not for all."""
    asked: list[dict[str, Any]] = []
    region._makes.meta.events.register(
        "provide-client-params.ec2.RunInstances", lambda params, **_: asked.append(params)
    )
    region.create(Order(**{**vars(ORDER), "zone": "eu-west-1b", "spot": True}))
    [words] = asked
    assert words["ClientToken"] == ORDER.token
    assert (words["MinCount"], words["MaxCount"]) == (1, 2)
    assert words["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert words["MetadataOptions"] == {
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
        "HttpEndpoint": "enabled",
    }
    assert words["Placement"] == {"AvailabilityZone": "eu-west-1b"}
    assert words["InstanceMarketOptions"]["MarketType"] == "spot"
    for specification in words["TagSpecifications"]:
        assert {"Key": CLUSTER, "Value": ID} in specification["Tags"]


def test_no_answer(region: Ec2, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that gets no answer may have been done."""
    from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError
    from botocore.parsers import ResponseParserError

    for error, kind in (
        (ReadTimeoutError(endpoint_url="x"), Unsure),
        (ConnectionClosedError(endpoint_url="x"), Unsure),
        # A page of some proxy's in the place of an answer.
        (ResponseParserError("<html>"), Unsure),
        (EndpointConnectionError(endpoint_url="x", error="refused"), CncpError),
    ):

        def fail(**_: Any) -> None:
            raise error  # noqa: B023  # called within this turn

        monkeypatch.setattr(region._makes, "run_instances", fail)
        with pytest.raises(CncpError) as caught:
            region.create(ORDER)
        assert type(caught.value) is kind


def test_limits(region: Ec2, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quota is in vCPUs, of which those of running instances of the same families are taken."""
    region.create(ORDER)
    quotas = region._client("service-quotas", 1)
    monkeypatch.setattr(region, "_client", lambda *_: quotas)
    with Stubber(quotas) as stub:
        asked = {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"}
        stub.add_response("get_service_quota", {"Quota": {"Value": 32.0}}, asked)
        limits = region.limits()
        stub.add_client_error("get_service_quota", "AccessDeniedException", "may not", 400, expected_params=asked)
        assert region.limits() == Limits()
    assert limits.per_instance == {"vCPUs": 2}
    assert 28 <= limits.free["vCPUs"] < 32
    with pytest.raises(
        QuotaExceeded, match=r"room for \d+ of 40 more instances: they need 80 vCPUs where \d+ are free"
    ):
        limits.insist(40, region.where)


def test_families() -> None:
    """Types share a quota by the letter that they begin with."""
    found = [module._family(name) for name in ("t3.micro", "c7i.large", "g5.xlarge", "vt1.3xlarge", "p4d.24xlarge")]
    assert found == ["standard", "standard", "g", "g", "p"]


def test_the_group(ec2: str) -> None:
    """Nobody gets into instances; the controller's ports are open to them alone, and no longer when they are gone."""
    import boto3

    client = boto3.client("ec2")
    vpc = client.describe_vpcs()["Vpcs"][0]["VpcId"]
    theirs = client.create_security_group(GroupName="lab", Description="controller", VpcId=vpc)["GroupId"]
    region = Ec2({}, Template("ami-03cf127a", "t3.micro", controller_group=theirs, ports="20000-20017"))
    made = [*region.create(ORDER), *region.create(Order(**{**vars(ORDER), "batch": "c" * 16, "token": "c" * 16}))]

    def group(name: str) -> dict[str, Any]:
        return dict(client.describe_security_groups(GroupIds=[name])["SecurityGroups"][0])

    [ours] = region._groups(ID)
    assert group(ours)["IpPermissions"] == []
    [rule] = group(theirs)["IpPermissions"]
    assert (rule["FromPort"], rule["ToPort"], rule["IpRanges"]) == (20000, 20017, [])
    assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [ours]
    region.delete([instance.id for instance in made])
    assert region.tidy(ID)
    assert group(theirs)["IpPermissions"] == []
    assert region._groups(ID) == []


def test_a_group_in_use(region: Ec2) -> None:
    """EC2 keeps it for a while after the instances: that is no error, and not done either."""
    region.create(ORDER)
    with Stubber(region._makes) as stub:
        stub.add_client_error(
            "delete_security_group", "DependencyViolation", "in use", 400, expected_params={"GroupId": ANY}
        )
        assert not region.tidy(ID)


def test_a_subnet_as_zone(ec2: str) -> None:
    """Where a subnet is named, group and instances are in its network."""
    import boto3

    client = boto3.client("ec2")
    vpc = client.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = client.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    region = Ec2({}, Template("ami-03cf127a", "t3.micro", zones=(subnet,)))
    [instance] = region.create(Order(**{**vars(ORDER), "count": 1, "zone": subnet}))
    assert instance.address.startswith("10.9.1.")
    assert client.describe_security_groups(GroupIds=region._groups(ID))["SecurityGroups"][0]["VpcId"] == vpc


@pytest.mark.parametrize(
    ("gone", "site", "told"),
    [
        (["AWS_DEFAULT_REGION"], {}, "there is no region"),
        ([], {"cloud": "nobody"}, "nobody"),
        (["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"], {}, "credentials"),
    ],
)
def test_who_and_where(
    ec2: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gone: list[str], site: dict[str, str], told: str
) -> None:
    """No region, no such profile, no keys: each is said with what to do."""
    for name in gone:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(CncpError, match=told) as caught:
        Ec2(site, Template("ami-03cf127a", "t3.micro")).check()
    assert caught.value.hint


def test_the_region_is_that_of_then(ec2: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made in a region is found there again, whatever is the default by then (dask-ec2#35)."""
    region = Ec2({"provider": "ec2", "cloud": ""}, Template("ami-03cf127a", "t3.micro"))
    region.create(ORDER)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")
    assert Ec2({}, Template()).instances({CLUSTER: ID}) == []
    assert len(Ec2(region.site, Template()).instances({CLUSTER: ID})) == 2


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, with how to get it."""
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    with pytest.raises(CncpError, match="boto3 is not installed") as caught:
        Ec2({}, Template())
    assert "cncp pip install boto3" in caught.value.hint
    assert not isinstance(caught.value, UsageError)
