"""What a machine is made of, who uses it and how much: its source is sent to hosts and run there.

Constraints: the standard library alone, one file, Python 3.7 or newer. It changes nothing, and prints
one JSON object as its last line.
"""

from __future__ import annotations

import glob
import json
import os
import platform
import re
import shutil
import subprocess


def text(path: str) -> str:
    """Return the content of a file, "" where there is none."""
    try:
        with open(path, errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def said(*words: str) -> list[str]:
    """Return what a program prints, no lines where it is missing, fails or hangs."""
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.decode(errors="replace").splitlines() if done.returncode == 0 else []


def cpu() -> str:
    """Return the processor's name, or its kind where it has none."""
    found = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", text("/proc/cpuinfo"), re.MULTILINE)
    return " ".join(found.group(1).split()) if found else platform.machine()


def sockets() -> int:
    """Return how many processors are plugged in."""
    files = glob.glob("/sys/devices/system/cpu/cpu[0-9]*/topology/physical_package_id")
    return max(1, len({text(file).strip() for file in files}))


def cores() -> int:
    """Return how many processors a login may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def memory() -> int:
    """Return the memory in bytes."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", text("/proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def gpus() -> list[str]:
    """Return the names of the GPUs an engine could be given."""
    listed = [line.partition(":")[2].partition(" (UUID")[0].strip() for line in said("nvidia-smi", "-L")]
    return listed or ["nvidia" for _ in glob.glob("/dev/nvidia[0-9]*")]


def pythons() -> list[str]:
    """Return the versions of Python 3.10 and newer on the PATH."""
    names = ["python3", *(f"python3.{minor}" for minor in range(10, 20))]
    show = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
    found = {line for name in names if shutil.which(name) for line in said(name, "-I", "-c", show)}
    versions = sorted(tuple(map(int, version.split("."))) for version in found if re.match(r"3\.\d+\.\d+$", version))
    return [".".join(map(str, version)) for version in versions if version >= (3, 10)]


def system() -> str:
    """Return the name of the distribution."""
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', text("/etc/os-release"), re.MULTILINE)
    return found.group(1) if found else platform.system()


def users() -> list[str]:
    """Return who is logged in."""
    listed = said("who") or said("loginctl", "list-sessions", "--no-legend")
    column = 0 if said("who") else 2
    return sorted({line.split()[column] for line in listed if len(line.split()) > column})


def look() -> dict[str, object]:
    """Return all of it, sizes in bytes."""
    home = os.path.expanduser("~")
    room = os.statvfs(home)
    return {
        "cores": cores(),
        "cpu": cpu(),
        "disk_free": room.f_bavail * room.f_frsize,
        "gpus": gpus(),
        "home": home,
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
        "memory": memory(),
        "numa": max(1, len(glob.glob("/sys/devices/system/node/node[0-9]*"))),
        "os": system(),
        "pythons": pythons(),
        "sockets": sockets(),
        "systemd": os.path.isdir("/run/systemd/system"),
        "users": users(),
    }


if __name__ == "__main__":
    print(json.dumps(look()))
