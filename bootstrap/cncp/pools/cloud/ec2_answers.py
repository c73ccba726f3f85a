"""What EC2 and EBS answer where they do not do what was asked for, as errors of ours.

Facts: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html,
https://docs.aws.amazon.com/ebs/latest/APIReference/API_StartSnapshot.html (its errors)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from cncp.errors import CncpError
from cncp.pools.cloud.provider import AGAIN, NoCapacity, QuotaExceeded, Throttled, Unsure

_NO_CAPACITY = (
    "InsufficientCapacity",
    "InsufficientFreeAddressesInSubnet",
    "InsufficientHostCapacity",
    "InsufficientInstanceCapacity",
    "SpotMaxPriceTooLow",
    "Unsupported",  # the zone never has this type
)
_QUOTA = (
    *("InstanceLimitExceeded", "MaxSpotInstanceCountExceeded", "VcpuLimitExceeded"),
    *("ServiceQuotaExceededException", "SnapshotLimitExceeded"),
)
_THROTTLED = (
    *("EC2ThrottledException", "RequestLimitExceeded", "RequestThrottled", "Throttling", "ThrottlingException"),
    *("ConcurrentLimitExceededException", "RequestThrottledException"),
)
_UNSURE = (
    *("InternalError", "InternalFailure", "RequestTimeout", "ServerInternal", "ServiceUnavailable", "Unavailable"),
    "InternalServerException",
)
_DENIED = (
    *("AccessDenied", "AuthFailure", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnauthorizedOperation"),
    "AccessDeniedException",
)
_GONE = ("InvalidInstanceID.NotFound", "ResourceNotFoundException")
_IN_USE = ("DependencyViolation", "InvalidGroup.InUse", "InvalidSnapshot.InUse")


class InUse(CncpError):
    """A security group of instances, or a snapshot of an image, that are gone since a moment ago."""


class NotFound(CncpError):
    """An instance or a snapshot that is not there, or not yet."""


def refused(where: str, response: Mapping[str, Any]) -> CncpError:
    """Return what EC2, or EBS, answers in place of what was asked for as one of our errors."""
    code, told = response["Error"]["Code"], response["Error"].get("Message", "")
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = f"{where}: {code}: {told}"
    kinds: Sequence[tuple[Collection[str], Callable[[], CncpError]]] = (
        (_NO_CAPACITY, lambda: NoCapacity(message, "name more zones, or try another flavor")),
        (_QUOTA, lambda: QuotaExceeded(message, "end others, or have the quota raised")),
        (_THROTTLED, lambda: Throttled(message)),
        (_UNSURE, lambda: Unsure(message, AGAIN)),
        (
            _DENIED,
            lambda: CncpError(message, "see whose keys are used (aws sts get-caller-identity) and what they may"),
        ),
        (_IN_USE, lambda: InUse(message, AGAIN)),
        (_GONE, lambda: NotFound(message, AGAIN)),
    )
    for codes, kind in kinds:
        if code in codes:
            return kind()
    if status >= 500:
        return Unsure(message, AGAIN)
    return CncpError(message, "change what the pool asks for, then run this again")
