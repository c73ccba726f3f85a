"""Instances of EC2, or of what answers as EC2 does, by boto3. What boto3 reads is read: ~/.aws, AWS_* variables.

Facts: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html,
https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from cncp.errors import CncpError, UsageError
from cncp.pools.cloud import provider
from cncp.pools.cloud.ec2_answers import InUse, NotFound, refused
from cncp.pools.cloud.provider import (
    AGAIN,
    CLUSTER,
    Instance,
    Limits,
    Order,
    State,
    Template,
    Throttled,
    Unsure,
)

_STATES: Mapping[str, State] = {
    "pending": "requested",
    "running": "running",
    "stopping": "stopped",
    "stopped": "stopped",
    "shutting-down": "ending",
    "terminated": "gone",
}

_QUOTAS = {"standard": "L-1216C47A", "g": "L-DB2E81BA", "p": "L-417A185B", "x": "L-7295265B", "f": "L-74FC7D96"}
_SPOT_QUOTAS = {"standard": "L-34B43A08", "g": "L-3819A6DF", "p": "L-7212CCBC", "x": "L-E3A00192", "f": "L-88CF9481"}
"""Codes of quotas, in vCPUs, by families of types: those of g and vt share one, as do a, c, d, h, i, m, r, t and z."""


def _family(flavor: str) -> str:
    kind = flavor.partition(".")[0]
    first = "g" if kind.startswith("vt") else kind[:1]
    return first if first in _QUOTAS else "standard"


class Ec2:
    """A region of EC2, and what is to be made there."""

    def __init__(self, site: Mapping[str, str], template: Template) -> None:
        """``site`` has ``cloud``, an AWS profile, and ``region``; "" is what boto3 takes. Raises CncpError."""
        self._template = template
        self._session = self._opened(site)
        self.site: Mapping[str, str] = {**site, "region": self._session.region_name}
        self.where = f"EC2 in {self._session.region_name}"
        self.zones: Sequence[str] = template.zones

    @staticmethod
    def _opened(site: Mapping[str, str]) -> Any:
        boto3 = provider.library("boto3", "boto3", "ec2")
        from botocore.exceptions import BotoCoreError

        try:
            session = boto3.Session(profile_name=site.get("cloud") or None, region_name=site.get("region") or None)
        except BotoCoreError as error:
            raise UsageError(f"EC2: {error}", "cloud is the name of a profile in ~/.aws/config") from None
        if not session.region_name:
            raise UsageError("EC2: there is no region", 'add region = "eu-central-1" to the pool, or set AWS_REGION')
        return session

    def _client(self, service: str, attempts: int) -> Any:
        from botocore.config import Config

        retries = {"mode": "standard", "total_max_attempts": attempts}
        return self._session.client(service, config=Config(retries=retries, connect_timeout=10, read_timeout=60))

    @functools.cached_property
    def _reads(self) -> Any:
        return self._client("ec2", 4)

    @functools.cached_property
    def _makes(self) -> Any:
        # botocore takes a zone without capacity for a fault of the server, and would try for half an hour.
        return self._client("ec2", 1)

    # What there is ----------------------------------------------------------

    def check(self) -> None:
        """Have EC2 check a call that makes an instance, without making it. Raises CncpError."""
        words = self._words(self._image)
        self._cores_each  # noqa: B018  # raises where there is no such type
        with self._errors("DryRunOperation"):
            self._makes.run_instances(**words, MinCount=1, MaxCount=1, DryRun=True)

    @functools.cached_property
    def _image(self) -> str:
        """Return the id of the image: of several that are named so, the newest of our own or Amazon's."""
        named = self._template.image
        by_id = {"ImageIds": [named]}
        by_name = {"Owners": ["self", "amazon"], "Filters": [{"Name": "name", "Values": [named]}]}
        with self._errors():
            found = self._reads.describe_images(**(by_id if named.startswith("ami-") else by_name))["Images"]
        if not found:
            raise UsageError(
                f"{self.where} has no image {named!r} of yours or Amazon's",
                "give an id as in ami-0abc, or a name; * stands for any text",
            )
        return str(max(found, key=lambda image: str(image.get("CreationDate", "")))["ImageId"])

    @functools.cached_property
    def _cores_each(self) -> int:
        """Return the vCPUs of an instance of our type."""
        with self._errors():
            types = self._reads.describe_instance_types(InstanceTypes=[self._template.flavor])["InstanceTypes"]
        if not types:
            raise UsageError(f"{self.where} has no flavor {self._template.flavor!r}", "give one as in m6i.large")
        return int(types[0]["VCpuInfo"]["DefaultVCpus"])

    def limits(self) -> Limits:
        """Return the vCPUs that are left; nothing where we may not know."""
        family, spot = _family(self._template.flavor), self._template.spot
        try:
            with self._errors():
                quota = self._client("service-quotas", 4).get_service_quota(
                    ServiceCode="ec2", QuotaCode=(_SPOT_QUOTAS if spot else _QUOTAS)[family]
                )
            used = sum(
                self._cores(instance)
                for instance in self._described([{"Name": "instance-state-name", "Values": ["pending", "running"]}])
                if _family(instance["InstanceType"]) == family and bool(instance.get("InstanceLifecycle")) == spot
            )
            return Limits({"vCPUs": int(quota["Quota"]["Value"]) - used}, {"vCPUs": self._cores_each})
        except (Throttled, Unsure):
            raise
        except CncpError:
            return Limits()

    @staticmethod
    def _cores(instance: Mapping[str, Any]) -> int:
        processors = instance.get("CpuOptions", {})
        return int(processors.get("CoreCount", 1)) * int(processors.get("ThreadsPerCore", 1))

    def instances(self, tags: Mapping[str, str]) -> Sequence[Instance]:
        """Return all that have these tags; those that are gone are listed for about an hour."""
        return [self._instance(found) for found in self._described(tagged(tags))]

    def _described(self, filters: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        with self._errors():
            for page in self._reads.get_paginator("describe_instances").paginate(Filters=filters):
                for reservation in page["Reservations"]:
                    yield from reservation["Instances"]

    def console(self, id: str) -> str:  # noqa: A002
        """Return what an instance has written; of some types only what it had written a while ago."""
        for latest in ({"Latest": True}, {}):
            with contextlib.suppress(CncpError), self._errors():
                return str(self._reads.get_console_output(InstanceId=id, **latest).get("Output") or "")
        return ""

    # What is made -----------------------------------------------------------

    def create(self, order: Order) -> Sequence[Instance]:
        """Make instances, or as many of them as there are; they end where they are switched off."""
        words = self._words(self._image)
        words["SecurityGroupIds"] = [self._group(order), *self._template.groups]
        if order.zone.startswith("subnet-"):
            words["SubnetId"] = order.zone
        elif order.zone:
            words["Placement"] = {"AvailabilityZone": order.zone}
        if order.spot:
            words["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}
        with self._errors():
            made = self._makes.run_instances(
                **words,
                MinCount=1,
                MaxCount=order.count,
                UserData=order.user_data,
                ClientToken=order.token,
                TagSpecifications=[
                    {"ResourceType": kind, "Tags": _tags(order.tags)} for kind in ("instance", "volume")
                ],
            )["Instances"]
        return [self._instance(found) for found in made]

    def _words(self, image: str) -> dict[str, Any]:
        return {
            "ImageId": image,
            "InstanceType": self._template.flavor,
            "InstanceInitiatedShutdownBehavior": "terminate",
            # A request that some program of the instance is talked into making has no token, and none from a container.
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"},
            **({"KeyName": self._template.key} if self._template.key else {}),
        }

    def _group(self, order: Order) -> str:
        """Return the cluster's security group, made where it is missing: nobody gets in by it."""
        cluster = order.tags[CLUSTER]
        network = self._network(order.zone)
        found = self._groups(cluster, network)
        if not found:
            with self._errors():
                found = [
                    self._makes.create_security_group(
                        GroupName=f"cncp-{cluster}",
                        Description="Engines of an IPython Parallel cluster: nothing gets in",
                        TagSpecifications=[{"ResourceType": "security-group", "Tags": _tags(order.tags)}],
                        **({"VpcId": network} if network else {}),
                    )["GroupId"]
                ]
        if self._template.controller_group:
            self._let_in(found[0])
        return str(found[0])

    def _network(self, zone: str) -> str:
        """Return the VPC of a subnet, or the default one."""
        with self._errors():
            if zone.startswith("subnet-"):
                return str(self._reads.describe_subnets(SubnetIds=[zone])["Subnets"][0]["VpcId"])
            vpcs = self._reads.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        if not vpcs:
            raise UsageError(f"{self.where} has no default network", 'name subnets: zones = ["subnet-0abc"]')
        return str(vpcs[0]["VpcId"])

    def _groups(self, cluster: str, network: str = "") -> list[str]:
        filters = [*tagged({CLUSTER: cluster}), {"Name": "group-name", "Values": [f"cncp-{cluster}"]}]
        if network:
            filters.append({"Name": "vpc-id", "Values": [network]})
        with self._errors():
            return [
                group["GroupId"] for group in self._reads.describe_security_groups(Filters=filters)["SecurityGroups"]
            ]

    def _let_in(self, group: str) -> None:
        """Open the controller's ports to the instances, and to nobody else."""
        first, _, last = self._template.ports.partition("-")
        rule = {
            "IpProtocol": "tcp",
            "FromPort": int(first),
            "ToPort": int(last),
            "UserIdGroupPairs": [{"GroupId": group}],
        }
        with self._errors("InvalidPermission.Duplicate"):
            self._makes.authorize_security_group_ingress(GroupId=self._template.controller_group, IpPermissions=[rule])

    # What is ended ----------------------------------------------------------

    def delete(self, ids: Collection[str]) -> None:
        """Terminate instances."""
        try:
            with self._errors():
                self._reads.terminate_instances(InstanceIds=sorted(ids))
        except NotFound:
            # EC2 does nothing where it does not know one of them.
            for name in sorted(ids) if len(ids) > 1 else ():
                self.delete([name])

    def tidy(self, cluster: str) -> bool:
        """Delete the cluster's security groups, which EC2 keeps in use for a while after the instances."""
        for group in self._groups(cluster):
            self._shut_out(group)
            try:
                with self._errors("InvalidGroup.NotFound"):
                    self._makes.delete_security_group(GroupId=group)
            except InUse:
                return False
        return True

    def _shut_out(self, group: str) -> None:
        with self._errors():
            others = self._reads.describe_security_groups(
                Filters=[{"Name": "ip-permission.group-id", "Values": [group]}]
            )["SecurityGroups"]
        for other in others:
            rules = [
                {**{key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in rule},
                 "UserIdGroupPairs": [{"GroupId": group}]}
                for rule in other["IpPermissions"]
                if any(pair.get("GroupId") == group for pair in rule["UserIdGroupPairs"])
            ]  # fmt: skip
            with self._errors("InvalidPermission.NotFound"):
                self._makes.revoke_security_group_ingress(GroupId=other["GroupId"], IpPermissions=rules)

    # In our words -----------------------------------------------------------

    def _instance(self, found: Mapping[str, Any]) -> Instance:
        tags = told(found)
        reason = found.get("StateReason", {}).get("Message") or found.get("StateTransitionReason") or ""
        state = _STATES.get(found["State"]["Name"], "failed")
        return Instance(
            id=found["InstanceId"],
            # What its system calls itself, as engines will.
            name=str(found.get("PrivateDnsName") or found["InstanceId"]).partition(".")[0],
            state=state,
            cause="" if state in ("requested", "running") else reason,
            since=found["LaunchTime"].timestamp(),
            address=found.get("PrivateIpAddress", ""),
            zone=found.get("Placement", {}).get("AvailabilityZone", ""),
            flavor=found.get("InstanceType", ""),
            price=provider.price_in(tags),
            tags=tags,
        )

    @contextlib.contextmanager
    def _errors(self, *fine: str) -> Iterator[None]:
        """Have errors of boto3 as ours; those of the codes ``fine`` are none."""
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            ConnectionClosedError,
            EndpointConnectionError,
            HTTPClientError,
            NoCredentialsError,
            PartialCredentialsError,
            ReadTimeoutError,
        )
        from botocore.parsers import ResponseParserError

        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] not in fine:
                raise refused(self.where, error.response) from None
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise CncpError(f"{self.where}: {error}", "run aws configure, or set AWS_PROFILE") from None
        except EndpointConnectionError as error:
            raise CncpError(f"{self.where}: {error}", "check the network, and the region") from None
        except (ReadTimeoutError, ConnectionClosedError, HTTPClientError, ResponseParserError) as error:
            raise Unsure(f"{self.where} gave no answer: {error}", AGAIN) from None
        except BotoCoreError as error:
            raise CncpError(f"{self.where}: {error}", "see ~/.aws/config and the AWS_* variables") from None


def tagged(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what has EC2 list only what has these tags."""
    return [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in {"Name": f"cncp-{tags[CLUSTER][:8]}", **tags}.items()]


def told(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of something that EC2 has described."""
    return {tag["Key"]: tag["Value"] for tag in found.get("Tags", ())}
