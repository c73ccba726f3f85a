#!/usr/bin/env bash
# baremetal.sh: an IPython Parallel cluster on the machine you are logged in to.
#
# This script only checks, finds a Python, gets the code where it stands alone, and hands over to
# bootstrap/stage0.py. Its whole body is in functions and main is called on the last line, so that
# a file that was cut off in copying does nothing.
set -euo pipefail

# Stamped by `invoke dist.script --url URL`, so that a copy of this one file knows where to go.
STAMPED_URL=""
STAMPED_REF=""

say() { printf '==> %s\n' "$1" >&2; }

fail() { # fail EXIT_CODE WHAT HINT
    printf 'error: %s\nhint: %s\n' "$2" "$3" >&2
    exit "$1"
}

usage() {
    cat <<'TEXT'
usage: bash ./baremetal.sh [OPTION VALUE]...

Makes this machine an IPython Parallel cluster and ends when its engines answer:
a virtualenv, the profile profile_cncp, an ipcontroller and ipengines that are kept
running. Run again, it changes only what differs. `cncp uninstall` undoes it.

Where the cluster's settings come from, later ones winning: defaults, the role,
values kept from earlier command lines, --file, CNCP_* variables, these options.

@OPTIONS@
TEXT
}

# Print the value of option $1 among the remaining arguments, if it is there.
option() {
    local wanted=$1
    shift
    while [ $# -gt 0 ]; do
        case $1 in
        "$wanted") printf '%s' "${2-}"; return ;;
        "$wanted"=*) printf '%s' "${1#*=}"; return ;;
        esac
        shift
    done
}

find_python() {
    local candidate
    for candidate in ${CNCP_PYTHON:+"$CNCP_PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
        if [ -n "${CNCP_PYTHON-}" ]; then
            fail 4 "CNCP_PYTHON is $CNCP_PYTHON, which is not a Python 3.10 or newer" "set it to one that is, or unset it"
        fi
    done
    fail 4 "there is no Python 3.10 or newer on this machine" "install one (package python3), or name one with CNCP_PYTHON"
}

# The account whose cluster it is: who called sudo, else who runs this.
login_user() {
    if [ "$(id -u)" -eq 0 ] && [ -n "${CNCP_USER:-${SUDO_USER-}}" ]; then
        printf '%s' "${CNCP_USER:-$SUDO_USER}"
    else
        id -un
    fi
}

home_folder() {
    if [ -n "${CNCP_HOME-}" ]; then
        printf '%s' "$CNCP_HOME"
    elif [ "$(login_user)" = "$(id -un)" ]; then
        printf '%s/.local/share/cncp' "$HOME"
    else
        printf '%s/.local/share/cncp' "$(getent passwd "$(login_user)" | cut -d: -f6)"
    fi
}

as_login() {
    if [ "$(login_user)" = "$(id -un)" ]; then
        "$@"
    else
        runuser -u "$(login_user)" -- "$@"
    fi
}

# A shallow clone of what provisioning needs, made or brought up to date.
clone() { # clone URL REF FOLDER
    local url=$1 ref=$2 folder=$3
    command -v git >/dev/null || fail 4 "there is no git to get the code with" "install the package git, or use a bundle: --offline FILE"
    [ -t 0 ] || export GIT_TERMINAL_PROMPT=0
    say "getting the code: $ref of $url"
    as_login mkdir -p "$folder"
    as_login git -C "$folder" init --quiet
    as_login git -C "$folder" config remote.origin.url "$url"
    as_login git -C "$folder" config remote.origin.promisor true
    as_login git -C "$folder" config remote.origin.partialclonefilter blob:none
    as_login git -C "$folder" sparse-checkout set --no-cone /baremetal.sh /bootstrap/ /cookbooks/ /roles/
    # A server that cannot filter sends all of one commit, which is small enough.
    if ! as_login git -C "$folder" fetch --quiet --depth 1 --filter=blob:none origin "$ref"; then
        fail 1 "$url did not give $ref" "check CNCP_REPO_URL and CNCP_REF, or use a bundle: --offline FILE"
    fi
    as_login git -C "$folder" checkout --quiet --force --detach FETCH_HEAD
}

unbundle() { # unbundle FILE FOLDER
    [ -f "$1" ] || fail 2 "there is no bundle $1" "name the file that invoke bundle.make wrote"
    as_login mkdir -p "$2"
    if ! as_login tar -xf "$1" -C "$2" --strip-components=1 code 2>/dev/null; then
        fail 2 "$1 is not a bundle" "name the file that invoke bundle.make wrote"
    fi
}

main() {
    local here home code url ref bundle python
    for argument in "$@"; do
        case $argument in
        -h | --help)
            usage
            exit 0
            ;;
        esac
    done
    export CNCP_BEGAN="${EPOCHREALTIME-}"
    python=$(find_python)
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    code=$here
    if [ ! -f "$here/bootstrap/stage0.py" ]; then
        home=$(home_folder)
        code=$home/code
        bundle=$(option --offline "$@")
        bundle=${bundle:-${CNCP_OFFLINE-}}
        url=${CNCP_REPO_URL:-$STAMPED_URL}
        ref=${CNCP_REF:-${STAMPED_REF:-HEAD}}
        if [ -n "$bundle" ]; then
            unbundle "$bundle" "$code"
        elif [ -n "$url" ]; then
            clone "$url" "$ref" "$code"
        else
            fail 2 "this script stands alone and does not know where the code is" "set CNCP_REPO_URL (and CNCP_REF), or run it from a checkout"
        fi
    fi
    exec "$python" -s "$code/bootstrap/stage0.py" "$@"
}

main "$@"
