"""The locked packages, and the user's own on top, into a virtualenv: by uv, or by pip without it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import CncpError
from cncp.install import pipconf, wheels
from cncp.install.wheels import Target
from cncp.run import CommandError, Completed, run

_TIMEOUT = 1800  # seconds: a package without a wheel is compiled


@dataclass(frozen=True)
class Sources:
    """Where packages come from: pip's configuration, or ``offline``, a folder of wheels."""

    options: Mapping[str, str]
    environment: Mapping[str, str]
    offline: Path | None

    def arguments(self) -> list[str]:
        """Return what both pip and uv take."""
        return ["--no-index", "--find-links", str(self.offline)] if self.offline else []


@dataclass(frozen=True)
class Packages:
    """What a virtualenv is to hold: the locks, what ``user`` asks for on top, and nothing else."""

    home: Path
    locks: tuple[Path, ...]
    user: Path | None
    target: Target
    sources: Sources

    def rehearse(self, uv: Path) -> None:
        """Find out whether all of it goes together; change nothing. Raises CncpError."""
        self._carefully(lambda: self._by_uv(uv, "--dry-run"))

    def install(self, uv: Path | None) -> None:
        """Install; without uv the virtualenv must be new, because pip removes nothing.

        Raises CncpError with the resolver's own words.
        """
        self._carefully(lambda: self._by_uv(uv) if uv is not None else self._by_pip())

    def _carefully(self, work: Callable[[], None]) -> None:
        try:
            work()
        except CommandError as error:
            raise CncpError(
                f"the packages could not be installed: {reason(error.result) or error.message}",
                "check the requirements file" if self.user else "check the network, or use a bundle: --offline FILE",
            ) from None

    @property
    def _python(self) -> str:
        return str(self.home / "venv" / "bin" / "python")

    @property
    def _locks(self) -> list[str]:
        return [word for lock in self.locks for word in ("-r", str(lock))]

    def _by_uv(self, uv: Path, *options: str) -> None:
        sources = self.sources
        settings = {
            "UV_CACHE_DIR": sources.environment.get("UV_CACHE_DIR") or str(self.home / "cache" / "uv"),
            "UV_PYTHON_DOWNLOADS": "never",
            **({} if sources.offline else pipconf.for_uv(sources.options, sources.environment)),
        }
        words = [str(uv), "pip", "install", "--quiet", "--exact", "--python", self._python, *options]
        words += [*(["--offline"] if sources.offline else []), *sources.arguments(), *self._locks]
        # With requirements of the user's own, hashes are checked where there are any: in the lock.
        words += ["-r", str(self.user)] if self.user else ["--require-hashes"]
        # Not where the user stands: the configuration of a project there is none of ours.
        run(words, env=settings, cwd=self.home, timeout=_TIMEOUT)

    def _by_pip(self) -> None:
        options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"]
        words = [self._python, "-m", "pip", "install", *options, *self.sources.arguments()]
        settings = {"PIP_NO_CACHE_DIR": "1"}
        # pip wants hashes of all or of none in one run; so the lock goes first and then holds.
        lock = ["--no-deps", "--require-hashes", *self._locks]
        run([*words, *lock], env=settings, cwd=self.home, timeout=_TIMEOUT)
        if self.user is None:
            return
        with tempfile.TemporaryDirectory() as scratch:
            constraints = Path(scratch) / "constraints.txt"
            locked = {one for lock in self.locks for one in wheels.read_lock(lock, self.target.environment)}
            constraints.write_text("".join(f"{one.name}=={one.version}\n" for one in locked))
            # Not --quiet, with which pip keeps to itself what conflicts.
            wanted = [word for word in words if word != "--quiet"] + ["-r", str(self.user), "-c", str(constraints)]
            run(wanted, env=settings, cwd=self.home, timeout=_TIMEOUT)


def reason(result: Completed) -> str:
    """Return the sentences in which uv or pip says what is wrong, on one line."""
    lines = [line.strip(" \u00d7\u2570\u2500\u25b6\u2502") for line in result.stderr.strip().splitlines()]
    wanted = [line for line in lines if line and not line.startswith(("WARNING:", "warning:", "[notice]"))]
    # pip says what conflicts among its progress, and then in general what one could do about it.
    conflict = result.stdout.partition("The conflict is caused by:")[2].partition("\n\n")[0].splitlines()
    sentence = re.sub(r"\s*(ERROR: ResolutionImpossible|hint:).*", "", " ".join(wanted))
    causes = "; ".join(line.strip() for line in conflict if line.strip())
    return re.sub(r"^(ERROR|error): ", "", sentence)[:600] + (f" {causes[:400]}" if causes else "")
