"""The clouds that we know: whom a pool of instances asks, imported only where one is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cncp.pools.cloud.cloud_pool import CloudPool
from cncp.pools.cloud.images import Images
from cncp.pools.cloud.provider import Provider, Template


class Ec2Pool(CloudPool):
    """Instances of EC2."""

    kind: ClassVar = "ec2"

    @classmethod
    def connect(cls, site: Mapping[str, str], template: Template) -> Provider:
        """Return a region."""
        from cncp.pools.cloud.ec2 import Ec2

        return Ec2(site, template)

    @classmethod
    def images(cls, site: Mapping[str, str]) -> Images:
        """Return a region and its images."""
        from cncp.pools.cloud.ec2_images import Ec2Images

        return Ec2Images(site)


class OpenStackPool(CloudPool):
    """Servers of an OpenStack."""

    kind: ClassVar = "openstack"

    @classmethod
    def connect(cls, site: Mapping[str, str], template: Template) -> Provider:
        """Return a project."""
        from cncp.pools.cloud.openstack import OpenStack

        return OpenStack(site, template)

    @classmethod
    def images(cls, site: Mapping[str, str]) -> Images:
        """Return a project and its images."""
        from cncp.pools.cloud.openstack_images import OpenStackImages

        return OpenStackImages(site)
