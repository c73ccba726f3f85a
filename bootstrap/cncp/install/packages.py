"""The locked packages, and the user's own on top, into a virtualenv: by uv, or by pip without it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import CncpError
from cncp.files import write_atomic
from cncp.install import http, pip_config, uv_config, wheels
from cncp.install.wheels import Target
from cncp.process import CommandError, Completed, run
from cncp.surroundings import PYTHON

_TIMEOUT = 1800  # seconds: a package without a wheel is compiled


class Broken(CncpError):
    """uv itself failed, not what it was asked for: pip may do without it."""


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
        """Find out whether all of it goes together; change nothing. Raises CncpError, Broken."""
        self._carefully(lambda: self._by_uv(uv, "--dry-run"))

    def install(self, uv: Path | None, *, anew: bool = False) -> None:
        """Install; without uv the virtualenv must be new, because pip removes nothing.

        ``anew`` has uv write also what seems to be there. Raises CncpError with the resolver's own
        words, Broken where it was uv that failed.
        """
        options = ["--reinstall"] if anew else []
        self._carefully(lambda: self._by_uv(uv, *options) if uv is not None else self._by_pip())

    def _carefully(self, work: Callable[[], None]) -> None:
        try:
            work()
        except CommandError as error:
            result = error.result
            problem = f"the packages could not be installed: {reason(result) or error.message}"
            if not http.unreachable(result.stderr) and os.path.basename(result.argv[0]) == "uv" and result.status != 1:
                raise Broken(problem, "look at what it says, or use a bundle: --offline FILE") from None
            raise CncpError(problem, self._hint(result)) from None

    def _hint(self, result: Completed) -> str:
        if http.unreachable(result.stderr):
            return "check the network and pip's configuration, or use a bundle: --offline FILE"
        if self.user:
            return "check the requirements file"
        return "name an index that has them in pip's configuration, or use a bundle: --offline FILE"

    @property
    def _python(self) -> str:
        return str(self.home / "venv" / "bin" / "python")

    @property
    def _locks(self) -> list[str]:
        return [word for lock in self.locks for word in ("-r", str(lock))]

    def _by_uv(self, uv: Path, *options: str) -> None:
        sources = self.sources
        configured = {} if sources.offline else uv_config.read(sources.environment, self._python)
        with tempfile.TemporaryDirectory() as scratch:
            # Not the user's own file, most of which is for other things than ours.
            file = Path(scratch) / "uv.toml"
            write_atomic(file, uv_config.written(configured).encode(), 0o600)
            settings = {
                "UV_CACHE_DIR": str(self.home / "cache" / "uv"),
                "UV_CONFIG_FILE": str(file),
                "UV_PYTHON_DOWNLOADS": "never",
                **self._credentials(),
                **({} if sources.offline else pip_config.for_uv(sources.options, sources.environment, configured)),
            }
            words = [str(uv), "pip", "install", "--quiet", "--exact", "--python", self._python, *options]
            words += [*(["--offline"] if sources.offline else []), *sources.arguments(), *self._locks]
            # With requirements of the user's own, hashes are checked where there are any: in the lock.
            # The lock names all that is wanted, which may be less than its packages ask for.
            words += ["-r", str(self.user)] if self.user else ["--no-deps", "--require-hashes"]
            # Not where the user stands: the configuration of a project there is none of ours.
            run(words, env=settings, cwd=self.home, timeout=_TIMEOUT)

    def _credentials(self) -> dict[str, str]:
        """Have uv keep the lock of its passwords with us, where it has none: it would make the folder in the home."""
        around = self.sources.environment
        data_home = Path(around.get("XDG_DATA_HOME") or Path(around.get("HOME") or "/") / ".local" / "share")
        if around.get("UV_CREDENTIALS_DIR") or (data_home / "uv" / "credentials" / "credentials.toml").exists():
            return {}
        return {"UV_CREDENTIALS_DIR": str(self.home / "cache" / "uv-credentials")}

    def _by_pip(self) -> None:
        options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"]
        words = [self._python, *PYTHON, "-m", "pip", "install", *options, *self.sources.arguments()]
        settings = {**pip_config.for_pip({} if self.sources.offline else self.sources.options), "PIP_NO_CACHE_DIR": "1"}
        # pip wants hashes of all or of none in one run; so the lock goes first and then holds.
        lock = ["--no-deps", "--require-hashes", *self._locks]
        run([*words, *lock], env=settings, cwd=self.home, timeout=_TIMEOUT)
        if self.user is None:
            return
        with tempfile.TemporaryDirectory() as scratch:
            constraints = Path(scratch) / "constraints.txt"
            locked = {package for lock in self.locks for package in wheels.read_lock(lock, self.target.environment)}
            constraints.write_text("".join(f"{package.name}=={package.version}\n" for package in locked))
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
