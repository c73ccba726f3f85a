"""pip's configuration, as pip reads it: what of it says where packages come from, for pip and for uv.

Sources as in pip's documentation ("Configuration"), weakest first: global, user and site files,
the file PIP_CONFIG_FILE names, then the environment. The section [install] counts for more than
[global], whichever file it is in.
"""

from __future__ import annotations

import configparser
import os
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path

from cncp.install import http

_OPTIONS = (
    *("index-url", "extra-index-url", "find-links", "no-index", "cert", "client-cert", "proxy", "trusted-host"),
    *("default-timeout", "timeout", "retries", "keyring-provider"),
)
"""What counts of pip's configuration. The rest is how its user wants packages installed: a folder, a
user's site, no wheels, constraints; our lock says all that itself.
"""


def read(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the options that say where packages come from."""
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for path in _files(environment):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
        for name, found in sections.items():
            if parser.has_section(name):
                found.update({key.replace("_", "-"): value for key, value in parser.items(name)})
    options = {**sections["global"], **sections["install"]}
    for option in _OPTIONS:
        variable = "PIP_" + option.upper().replace("-", "_")
        if environment.get(variable):
            options[option] = environment[variable]
    return {option: options[option].strip() for option in _OPTIONS if options.get(option, "").strip()}


def _files(environment: Mapping[str, str]) -> list[Path]:
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path(environment.get("HOME") or "/")
    configured = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    shared = [Path(folder) for folder in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if folder]
    files = [*(folder / "pip" / "pip.conf" for folder in shared), Path("/etc/pip.conf")]
    if not (named and os.path.exists(named)):
        files += [home / ".pip" / "pip.conf", configured / "pip" / "pip.conf"]
    files.append(Path(sys.base_prefix) / "pip.conf")
    return [*files, Path(named)] if named else files


def for_pip(options: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which pip knows these options and no other."""
    named = {f"PIP_{option.upper().replace('-', '_')}": " ".join(value.split()) for option, value in options.items()}
    return {**named, "PIP_CONFIG_FILE": os.devnull}


def for_uv(
    options: Mapping[str, str], environment: Mapping[str, str], configured: Mapping[str, object]
) -> dict[str, str]:
    """Return the environment that makes uv do what pip would; what is set for uv itself stays.

    ``configured`` is what counts of uv's own files (`uvconf.read`). In the environment and not on the
    command line, because index URLs can hold passwords.
    """
    indexes = configured.get("index")
    main = "index-url" in configured or (
        isinstance(indexes, list) and any(isinstance(index, dict) and index.get("default") for index in indexes)
    )
    own = {
        "UV_DEFAULT_INDEX": None if main or environment.get("UV_INDEX_URL") else options.get("index-url"),
        "UV_INDEX": None if environment.get("UV_EXTRA_INDEX_URL") else _words(options.get("extra-index-url")),
        "UV_FIND_LINKS": _words(options.get("find-links"), ","),
        "UV_NO_INDEX": "1" if options.get("no-index", "").lower() in ("1", "true", "yes", "on") else None,
        "UV_INSECURE_HOST": _words(options.get("trusted-host")),
        # pip takes the best version of all indexes; the hashes of the lock decide what is right.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        # The system's own certificates, to which a site's private ones are added.
        "UV_SYSTEM_CERTS": "1" if ssl.get_default_verify_paths().cafile else None,
    }
    shared = {"SSL_CLIENT_CERT": options.get("client-cert")}
    authority = http.authorities(options, environment)
    shared["SSL_CERT_DIR" if os.path.isdir(authority) else "SSL_CERT_FILE"] = authority
    # A proxy that pip is told of counts for more than the variables all programs share.
    for name in ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "https_proxy", "http_proxy"):
        shared[name] = options.get("proxy")
    return {
        **{key: value for key, value in own.items() if value and not environment.get(key)},
        **{key: value for key, value in shared.items() if value},
    }


def _words(value: str | None, separator: str = " ") -> str | None:
    return separator.join(value.split()) if value else None
