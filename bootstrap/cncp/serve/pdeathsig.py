"""Processes that must not outlive the one that began them."""

from __future__ import annotations

import ctypes
import signal

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with(number: signal.Signals) -> None:
    """In a child: ask the kernel for this signal when the parent dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
