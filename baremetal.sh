#!/usr/bin/env bash
# baremetal.sh: an IPython Parallel cluster on the machine you are logged in to.
#
# This script only checks, finds a Python, gets the code where it stands alone, and hands over to
# bootstrap/stage0.py. Its whole body is in functions and main is called in braces on the last
# lines, so that a file that was cut off in copying does nothing. bash 4.4 or newer.
set -euo pipefail

# Stamped by `cncp dist.script --url URL`, so that a copy of this one file knows where to go.
STAMPED_URL=""
STAMPED_REF=""

QUIET=
PYTHON=
LOGIN=
LOGIN_HOME=

say() { [ -n "$QUIET" ] || printf '==> %s\n' "$1" >&2; }

warn() { printf 'warning: %s\n' "$1" >&2; }

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

TEXT
    options
}

# Written by `cncp dist.options` from the table of settings; a test holds the two equal.
options() {
    cat <<'OPTIONS'
Settings of the cluster: option, variable, default.
  --role compute|controller|engine
        what this machine runs: controller and engines, or one of them
        CNCP_ROLE, default compute
  --profile NAME
        name of the IPython profile, without profile_
        CNCP_PROFILE, default cncp
  --engines cores|cores-N|gpus|N
        how many engines; with gpus one a GPU, each seeing only its own
        CNCP_ENGINES, default cores
  --threads auto|N
        threads an engine may use (OMP_NUM_THREADS and its kin); auto: cores / engines
        CNCP_THREADS, default auto
  --pin none|cores|numa
        processors an engine may use: all; as many cores of its own as it has threads;
        those of one NUMA node
        CNCP_PIN, default none
  --listen loopback|all|ADDRESS
        address the controller listens on
        CNCP_LISTEN, default loopback
  --external auto|HOST
        address by which other machines reach the controller; auto: this host's name
        CNCP_EXTERNAL, default auto
  --ports auto|LOW-HIGH
        range of 18 or more ports
        CNCP_PORTS, default auto
  --service-manager auto|systemd|supervisor|tmux|screen
        what keeps controller and engines running
        CNCP_SERVICE_MANAGER, default auto
  --scope auto|system|user
        systemd units of the system or of the user's own manager
        CNCP_SCOPE, default auto
  --database none|memory|sqlite
        where the hub keeps results for clients that disconnect
        CNCP_DATABASE, default memory
  --encryption true|false
        encrypt and authenticate all traffic (CurveZMQ)
        CNCP_ENCRYPTION, default true
  --requirements none|FILE|URL
        requirements file installed on top of the locked packages
        CNCP_REQUIREMENTS, default none
  --environment none|NAME=VALUE ...|@FILE
        variables of the engines, which have none of the shell that started them
        CNCP_ENVIRONMENT, default none
  --jupyter true|false
        JupyterLab beside the controller, on loopback behind a token
        CNCP_JUPYTER, default false
  --memory none|SIZE
        memory an engine may use, such as 4G; enforced by systemd
        CNCP_MEMORY, default none
  --logs files|journal
        rotated files, or systemd's journal
        CNCP_LOGS, default files
  --log-size MB
        size at which a log file is rotated
        CNCP_LOG_SIZE, default 10
  --log-keep N
        rotated log files kept for each service
        CNCP_LOG_KEEP, default 5
  --heartbeat MS
        period of the controller's heartbeat
        CNCP_HEARTBEAT, default 500
  --tolerance SECONDS
        silence after which an engine or the controller is given up
        CNCP_TOLERANCE, default 30
  --engine auto|chef|embedded
        what converges the machine: Chef, or the engine built in
        CNCP_ENGINE, default auto

Of this run: option, variable.
  --file FILE
        cluster.toml to read; without it the one in this folder, or the one of the last
        run
        CNCP_FILE
  --offline FILE
        bundle of cncp bundle.make to install from; no network is used
        CNCP_OFFLINE
  --python PATH
        Python to build the virtualenv with; 3.10 or newer
        CNCP_PYTHON
  --json
        print the result as JSON
        CNCP_JSON=true
  --quiet
        print no progress
        CNCP_QUIET=true
  --forget
        leave out what earlier command lines said
        CNCP_FORGET=true
  --install-only
        end when the virtualenv is there; start nothing
        CNCP_INSTALL_ONLY=true

Variables without an option:
  CNCP_CHEF_INSTALL
        no: never install Cinc, whoever asks
  CNCP_HOME
        folder for the virtualenv and all state (~/.local/share/cncp)
  CNCP_REF
        branch, tag or commit of the code that a lone baremetal.sh gets
  CNCP_REPO_URL
        where a lone baremetal.sh gets the code
  CNCP_USER
        account the cluster runs as, where root sets it up

Exit codes: 0 done, 1 failed, 2 command line or configuration, 4 this machine lacks something.
OPTIONS
}

# Print the value of option $1 among the remaining arguments, if it is there; the last one counts.
option() {
    local wanted=$1 found=
    shift
    while [ $# -gt 0 ]; do
        case $1 in
        "$wanted") found=${2-} ;;
        "$wanted"=*) found=${1#*=} ;;
        esac
        shift
    done
    printf '%s' "$found"
}

# Whether switch $1 (variable $2) is on among the remaining arguments.
switch() {
    local flag=$1 variable=$2 argument
    shift 2
    for argument in "$@"; do
        if [ "$argument" = "$flag" ]; then return 0; fi
    done
    case ${!variable-} in
    1 | [Tt]rue | [Yy]es | [Oo]n) return 0 ;;
    esac
    return 1
}

# Refuse a misspelt option before anything is fetched; stage0 checks the rest.
check_options() {
    local known argument
    known=$(options)
    for argument in "$@"; do
        argument=${argument%%=*}
        if [[ $argument == --* && $known$'\n' != *$'\n'"  $argument"[$' \n']* ]]; then
            fail 2 "command line: there is no option $argument" "see all options: bash ./baremetal.sh --help"
        fi
    done
}

find_python() { # find_python NAMED
    local candidate
    for candidate in ${1:+"$1"} python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        if "$candidate" -I -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            PYTHON=$(type -P -- "$candidate")
            return
        fi
        if [ -n "$1" ]; then
            fail 4 "$1 is not a Python 3.10 or newer" "name one that is with --python or CNCP_PYTHON, or leave it out"
        fi
    done
    fail 4 "there is no Python 3.10 or newer on this machine" "install one (package python3), or name one with CNCP_PYTHON"
}

# The account whose cluster it is: who called sudo, else who runs this.
find_login() {
    local me named
    me=$(id -un)
    LOGIN=$me
    named=${CNCP_USER:-${SUDO_USER-}}
    if [ "$(id -u)" -eq 0 ] && [ -n "$named" ]; then
        LOGIN=$named
    fi
    LOGIN_HOME=${HOME-}
    if [ "$LOGIN" != "$me" ] || [ -z "$LOGIN_HOME" ]; then
        LOGIN_HOME=$("$PYTHON" -I -c 'import pwd, sys; print(pwd.getpwnam(sys.argv[1]).pw_dir)' "$LOGIN" 2>/dev/null) ||
            fail 2 "there is no account $LOGIN on this machine" "set CNCP_USER to one that is"
    fi
}

# Run a program with the login user's rights: root leaves nothing of its own in that home.
as_login() {
    if [ "$LOGIN" = "$(id -un)" ]; then
        "$@"
    else
        command -v runuser >/dev/null || fail 4 "there is no runuser to act as $LOGIN with" "install the package util-linux, or run this as $LOGIN"
        # From / because root's working directory may be closed to that user.
        (cd / && runuser -u "$LOGIN" -- env HOME="$LOGIN_HOME" USER="$LOGIN" LOGNAME="$LOGIN" "$@")
    fi
}

# git that asks nothing where nobody can answer, and does not wait for ever.
quiet_git() { # quiet_git SECONDS ARGUMENT...
    local seconds=$1 limit=()
    shift
    if command -v timeout >/dev/null; then limit=(timeout --foreground "$seconds"); fi
    if [ ! -t 0 ]; then
        export GIT_TERMINAL_PROMPT=0 GIT_SSH_COMMAND="${GIT_SSH_COMMAND:-ssh -o BatchMode=yes}"
    fi
    as_login "${limit[@]}" git "$@"
}

# Print the commit that REF of URL is; fails where URL cannot be reached.
remote_commit() { # remote_commit URL REF
    local listing hash name found=
    if [[ $2 =~ ^[0-9a-f]{40}$ ]]; then
        printf '%s' "$2"
        return
    fi
    listing=$(quiet_git 30 ls-remote "$1" "$2" "refs/tags/$2^{}" 2>/dev/null) || return 1
    while read -r hash name; do
        # A tag goes before a branch of the same name, as in git; of a tag, the commit it is for.
        case $name in
        "refs/tags/$2^{}")
            found=$hash
            break
            ;;
        "refs/tags/$2" | "$2") found=$hash ;;
        "refs/heads/$2") found=${found:-$hash} ;;
        esac
    done <<<"$listing"
    printf '%s' "$found"
}

# The folder that holds all we keep. What is missing above it is noted, for an uninstall to take away.
make_home() { # make_home FOLDER
    local folder=$1 missing=()
    if [ -d "$1" ]; then return; fi
    while folder=$(dirname -- "$folder") && [ ! -d "$folder" ]; do missing+=("$folder"); done
    as_login mkdir -p -m 700 -- "$1" || fail 4 "$1 cannot be made" "set CNCP_HOME to a folder that can be"
    if [ "${#missing[@]}" -gt 0 ]; then printf '%s\n' "${missing[@]}" | as_login tee -- "$1/parents" >/dev/null; fi
}

# A sparse, shallow clone of what provisioning needs, made beside the old one and put in its place.
clone() { # clone URL REF FOLDER
    local url=$1 ref=$2 folder=$3 new=$3.new has='' wanted said
    command -v git >/dev/null || fail 4 "there is no git to get the code with" "install the package git, or use a bundle: --offline FILE"
    if [ -f "$folder/bootstrap/stage0.py" ]; then
        has=$(as_login git -C "$folder" rev-parse --verify --quiet HEAD 2>/dev/null) || has="an unknown version"
    fi
    if ! wanted=$(remote_commit "$url" "$ref"); then
        if [ -n "$has" ]; then
            warn "$url cannot be reached; going on with the code of the last run ($has)"
            return
        fi
        fail 1 "$url cannot be reached" "check CNCP_REPO_URL and the network, or use a bundle: --offline FILE"
    fi
    if [ -n "$has" ] && [ "$has" = "$wanted" ]; then return; fi
    say "getting the code: $ref of $url"
    as_login rm -rf -- "$new"
    as_login mkdir -p -- "$new"
    if ! said=$(checkout "$url" "${wanted:-$ref}" "$new" 2>&1); then
        as_login rm -rf -- "$new"
        if [ -n "$has" ]; then
            warn "$url did not give $ref; going on with the code of the last run ($has)"
            return
        fi
        fail 1 "$url did not give $ref: ${said##*$'\n'}" "check CNCP_REPO_URL and CNCP_REF, or use a bundle: --offline FILE"
    fi
    put_in_place "$folder" "$ref of $url"
}

checkout() { # checkout URL COMMIT FOLDER
    # No -e here, where the caller asks how it ended.
    as_login git -C "$3" init --quiet &&
        as_login git -C "$3" config remote.origin.url "$1" &&
        as_login git -C "$3" config remote.origin.promisor true &&
        as_login git -C "$3" config remote.origin.partialclonefilter blob:none &&
        as_login git -C "$3" config core.sparseCheckout true &&
        printf '%s\n' /baremetal.sh /bootstrap/ /cookbooks/ /notebooks/ /roles/ |
        as_login tee "$3/.git/info/sparse-checkout" >/dev/null &&
        # A server that cannot filter sends all of one commit, which is small enough.
        quiet_git 300 -C "$3" fetch --quiet --depth 1 --filter=blob:none origin "$2" &&
        quiet_git 300 -C "$3" checkout --quiet --force --detach FETCH_HEAD
}

unbundle() { # unbundle FILE FOLDER
    local file=$1 folder=$2 new=$2.new manifest
    if [ -d "$file" ]; then fail 2 "$file is a folder; a script that stands alone needs the bundle itself" "name the file that cncp bundle.make wrote"; fi
    [ -f "$file" ] || fail 2 "there is no bundle $file" "name the file that cncp bundle.make wrote"
    # Opened here and unpacked there: the login user need not be able to read the file.
    if ! manifest=$(tar -xOf - manifest.json <"$file" 2>/dev/null); then
        fail 2 "$file is not a bundle" "name the file that cncp bundle.make wrote"
    fi
    if [ -f "$folder/bootstrap/stage0.py" ] && [ "$manifest" = "$(cat "$folder/manifest.json" 2>/dev/null)" ]; then return; fi
    say "unpacking the code of $file"
    as_login rm -rf -- "$new"
    as_login mkdir -p -- "$new"
    # -m: the times in a bundle are all the same, by which Python would take old bytecode for new.
    if ! as_login tar -xmf - -C "$new" --no-same-owner --strip-components=1 code <"$file" 2>/dev/null; then
        as_login rm -rf -- "$new"
        fail 2 "$file is not a bundle" "name the file that cncp bundle.make wrote"
    fi
    printf '%s\n' "$manifest" | as_login tee "$new/manifest.json" >/dev/null
    put_in_place "$folder" "$file"
}

put_in_place() { # put_in_place FOLDER ORIGIN
    if [ ! -f "$1.new/bootstrap/stage0.py" ]; then
        as_login rm -rf -- "$1.new"
        fail 1 "$2 is not this project: it holds no bootstrap/stage0.py" "check CNCP_REPO_URL and CNCP_REF"
    fi
    as_login rm -rf -- "$1.old"
    if [ -e "$1" ]; then as_login mv -- "$1" "$1.old"; fi
    as_login mv -- "$1.new" "$1"
    as_login rm -rf -- "$1.old"
}

# Get the code, for a script that stands alone, into FOLDER. One run at a time.
get_code() { # get_code FOLDER ARGUMENT...
    local folder=$1 bundle url ref
    shift
    bundle=$(option --offline "$@")
    bundle=${bundle:-${CNCP_OFFLINE-}}
    url=${CNCP_REPO_URL:-$STAMPED_URL}
    ref=${CNCP_REF:-${STAMPED_REF:-HEAD}}
    case $bundle$url in
    '') fail 2 "this script stands alone and does not know where the code is" "set CNCP_REPO_URL (and CNCP_REF), or run it from a checkout" ;;
    esac
    # What begins with a dash would be an option of git's.
    if [[ $url == -* || $url =~ [[:cntrl:]] ]]; then fail 2 "CNCP_REPO_URL is $url, which is no URL" "set it to what git clone takes"; fi
    if [[ $ref == -* || $ref =~ [[:cntrl:][:space:]~^:?*\[\\] ]]; then fail 2 "CNCP_REF is $ref, which is no name of a commit" "set it to a branch, a tag or a commit"; fi
    if [ -n "$bundle" ] && [ ! -e "$bundle" ]; then fail 2 "there is no bundle $bundle" "name the file that cncp bundle.make wrote"; fi
    make_home "${folder%/*}"
    as_login touch -- "$folder.lock" || fail 4 "${folder%/*} is not writable" "set CNCP_HOME to a folder that is"
    exec 9<"$folder.lock"
    if command -v flock >/dev/null; then flock 9; fi
    # Cut off between two renames: what was there before is as good as new.
    if [ ! -e "$folder" ] && [ -e "$folder.old" ]; then as_login mv -- "$folder.old" "$folder"; fi
    if [ -n "$bundle" ]; then
        unbundle "$bundle" "$folder"
    else
        clone "$url" "$ref" "$folder"
    fi
    # Whatever is started from here on must not hold the lock.
    exec 9<&-
}

main() {
    local argument source here code named as_other=()
    # Python says the same of itself, from its first import on.
    trap 'echo "interrupted: what was done stays; bash ./baremetal.sh goes on from there" >&2; exit 130' INT
    for argument in "$@"; do
        case $argument in
        -h | --help)
            usage
            exit 0
            ;;
        esac
    done
    # bash 5 has a clock; its decimal sign is the locale's.
    CNCP_BEGAN=${EPOCHREALTIME:-$(date +%s)}
    export CNCP_BEGAN=${CNCP_BEGAN/,/.}
    if switch --quiet CNCP_QUIET "$@"; then QUIET=yes; fi
    named=$(option --python "$@")
    find_python "${named:-${CNCP_PYTHON-}}"
    source=${BASH_SOURCE[0]-}
    here=
    if [ -f "$source" ]; then here=$(CDPATH='' cd -- "$(dirname -- "$source")" && pwd); fi
    code=$here
    if [ -z "$here" ] || [ ! -f "$here/bootstrap/stage0.py" ]; then
        check_options "$@"
        find_login
        code=${CNCP_HOME:-$LOGIN_HOME/.local/share/cncp}/code
        case $code in
        /*) ;;
        *) code=$PWD/$code ;;
        esac
        get_code "$code" "$@"
    fi
    # Root acting for another leaves no bytecode of its own in that user's home.
    if [ "$(id -u)" -eq 0 ] && [ -n "${CNCP_USER:-${SUDO_USER-}}" ]; then as_other=(-B); fi
    # -S: stage0 has it done once it can say that it was interrupted.
    exec "$PYTHON" -I -S "${as_other[@]}" "$code/bootstrap/stage0.py" "$@"
}

{
    main "$@"
    exit
}
