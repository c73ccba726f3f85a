"""The people on a lab host: who they are, and how they get into its disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .command import PLAIN_ENV, run

FIRST_UID = 1000


@dataclass(frozen=True)
class User:
    """A person with a home and a password; ``sudo`` puts them in the group sudo."""

    name: str
    sudo: bool = False
    password: str = "correct horse"

    @classmethod
    def named(cls, user: User | str) -> User:
        """Take a user as given, or by name: ``ada`` may use sudo, nobody else may."""
        return user if isinstance(user, User) else cls(user, sudo=user == "ada")


def add_user(root: Path, user: User, uid: int) -> None:
    """Make the user on the disk at ``root``.

    The number is the caller's to give, so that a name has the same one on all
    hosts: a home shared between hosts then belongs to the same person on each.
    """
    groups = ["--groups", "sudo"] if user.sudo else []
    run(
        ["chroot", root, "useradd", "--create-home", "--shell", "/bin/bash",
         "--uid", str(uid), *groups, user.name],
        env=PLAIN_ENV,
    )  # fmt: skip
    run(["chroot", root, "chpasswd"], input=f"{user.name}:{user.password}\n", env=PLAIN_ENV)
