"""pip's configuration, as pip reads it, for uv, which does not.

Sources, weakest first, as in pip's documentation ("Configuration"): global, user and site files,
the file PIP_CONFIG_FILE names, then the environment.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from pathlib import Path

_OPTIONS = ("index-url", "extra-index-url", "find-links", "no-index", "cert", "client-cert", "proxy", "trusted-host")


def read(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the options that say where packages come from."""
    found: dict[str, str] = {}
    for path in _files(environment):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    for option in _OPTIONS:
        variable = "PIP_" + option.upper().replace("-", "_")
        if environment.get(variable):
            found[option] = environment[variable]
    return {option: found[option].strip() for option in _OPTIONS if found.get(option, "").strip()}


def _files(environment: Mapping[str, str]) -> list[Path]:
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path(environment.get("HOME") or "/")
    configured = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    shared = [Path(folder) for folder in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if folder]
    files = [*(folder / "pip" / "pip.conf" for folder in shared), Path("/etc/pip.conf")]
    files += [home / ".pip" / "pip.conf", configured / "pip" / "pip.conf", Path(sys.prefix) / "pip.conf"]
    return [*files, Path(named)] if named else files


def for_uv(options: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that makes uv do what pip would; what is set for uv itself stays.

    In the environment and not on the command line, because index URLs can hold passwords.
    """
    translated = {
        "UV_DEFAULT_INDEX": options.get("index-url"),
        "UV_INDEX": _words(options.get("extra-index-url")),
        "UV_FIND_LINKS": _words(options.get("find-links")),
        "UV_NO_INDEX": "1" if options.get("no-index", "").lower() in ("1", "true", "yes", "on") else None,
        "UV_INSECURE_HOST": _words(options.get("trusted-host")),
        "SSL_CERT_FILE": options.get("cert"),
        "SSL_CLIENT_CERT": options.get("client-cert"),
        "ALL_PROXY": options.get("proxy"),
        # pip takes the best version of all indexes; the hashes of the lock decide what is right.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    return {key: value for key, value in translated.items() if value and not environment.get(key)}


def _words(value: str | None) -> str | None:
    return " ".join(value.split()) if value else None
