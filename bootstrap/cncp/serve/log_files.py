"""Log files that stay bounded, or the journal."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path

from cncp.machine.node import Node
from cncp.machine.services.manager_traits import traits

_FORMAT = "%(asctime)s %(levelname)s %(name)s %(process)d: %(message)s"


def _worth_keeping(entry: logging.LogRecord) -> bool:
    """Leave out each question that the hub is asked, and a complaint about ipykernel 7's greeting."""
    text = entry.getMessage()
    return not (text.startswith("client::client") or "iopub_welcome" in text)


class _Renewed(RotatingFileHandler):
    """A file that is rotated here, and made anew where others have moved it away, or its folder.

    logrotate and people do: what a service went on writing into would be read by nobody.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record where the file is now. A folder that cannot be written costs the log, not the service."""
        with contextlib.suppress(OSError):
            if self.stream and not _is_at(self.stream, self.baseFilename):
                self.stream.close()
                self.stream = None
            if self.stream is None:
                self.stream = self._open()
            super().emit(record)

    def _open(self) -> io.TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Tasks' output and errors are in it.
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return io.TextIOWrapper(open(descriptor, "ab"), encoding=self.encoding, errors=self.errors)


def _is_at(stream: io.TextIOWrapper, path: str) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


class RotatedFile(logging.Handler):
    """A rotated log file.

    Not itself a StreamHandler: ipyparallel's engine points every one of those at the terminal
    (``IPEngine.redirect_output``).
    """

    def __init__(self, node: Node, name: str) -> None:
        # Not more: ipyparallel's debugging output shows the keys.
        super().__init__(logging.INFO)
        self._file = _Renewed(
            node.log_dir / f"{name}.log",
            maxBytes=node.settings.log_size * 1_000_000,
            backupCount=node.settings.log_keep,
            encoding="utf-8",
            errors="backslashreplace",
            delay=True,
        )
        self._file.setFormatter(logging.Formatter(_FORMAT))
        self.addFilter(_worth_keeping)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, to a new file where the old one is full."""
        self._file.emit(record)


def log_to(node: Node, name: str, logger: logging.Logger) -> None:
    """Send a service's log to ``log/NAME.log``, rotated; nothing to do for the journal.

    The terminal handler goes where a service manager keeps the output: it would be there twice.
    """
    if node.settings.logs == "journal":
        return
    handler = RotatedFile(node, name)
    if traits(node).keeps_output:
        for former in list(logger.handlers):
            logger.removeHandler(former)
    logger.addHandler(handler)


def note_end(node: Node, name: str, error: Exception) -> None:
    """Write the error that ends a service into its log.

    A service's stderr is where its manager keeps it: in the journal, which has it all then, or in files
    that nobody looks at.
    """
    if node.settings.logs == "journal":
        return
    logger = logging.getLogger("cncp")
    log_to(node, name, logger)
    logger.critical("ended by an error", exc_info=error)
