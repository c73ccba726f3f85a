#!/usr/bin/env bash
# baremetal.sh: an IPython Parallel cluster on the machine you are logged in to.
#
# This script only checks, finds a Python, gets the code where it stands alone, and hands over to
# bootstrap/stage0.py. Its whole body is in functions and main is called in braces on the last
# lines, so that a file that was cut off in copying does nothing. bash 4.4 or newer.
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
set +o posix
set -euo pipefail

# Stamped by `cncp dist.script --url URL`, so that a copy of this one file knows where to go.
STAMPED_URL=""
STAMPED_REF=""

# What a git configuration says of files is overruled; which addresses and passwords it has still counts.
GIT=(-c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.attributesFile=/dev/null -c core.autocrlf=false
    -c core.eol=lf -c submodule.recurse=false -c fetch.recurseSubmodules=false -c init.defaultObjectFormat=sha1
    -c init.templateDir=)

QUIET=
PYTHON=
ROOT_PYTHON=
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
  --service-manager auto|systemd|supervisor|tmux|screen|NAME
        what keeps controller and engines running; NAME is one of another package
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
  --converge auto|chef|embedded
        what converges the machine: Chef, or the engine built in
        CNCP_CONVERGE, default auto

Of this run: option, variable.
  --file FILE
        cluster.toml to read; without it the one in this folder, or the one of the last
        run
        CNCP_FILE
  --join FILE|-
        join the cluster elsewhere that this seed of cncp invite is of; - reads standard
        input
  --offline FILE
        bundle of cncp bundle.make to install from; no network is used
        CNCP_OFFLINE
  --offline-digest SHA256
        what bundle.make said of the bundle; any other is refused
        CNCP_OFFLINE_DIGEST
  --python PATH|3.N
        Python to build the virtualenv with; 3.10 or newer
        CNCP_PYTHON
  --json
        print the result as JSON
        CNCP_JSON=true
  --quiet
        print no progress
        CNCP_QUIET=true
  --verbose
        say how long each phase takes
        CNCP_VERBOSE=true
  --debug
        show each command that is run, where, for how long and how it ended
        CNCP_DEBUG=true
  --forget
        leave out what earlier command lines said
        CNCP_FORGET=true
  --wait SECONDS
        seconds to wait for engines that are busy, where they have to be restarted
        CNCP_WAIT
  --force
        go on although engines are busy; their tasks are lost
        CNCP_FORCE=true
  --install-only
        end when the virtualenv is there; start nothing
        CNCP_INSTALL_ONLY=true

Variables without an option:
  CNCP_CHEF_INSTALL
        no: never install Cinc, whoever asks
  CNCP_HOME
        folder for the virtualenv and all state (~/.local/share/cncp)
  CNCP_PLAIN_URL
        true: take code from a plain http:// or git:// URL, for which nobody vouches
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

# Whether nobody but root, and who called sudo, could have written what find(1) finds: root runs nothing else.
roots_alone() { # roots_alone FIND_ARGUMENT...
    local caller=() group=() name=${SUDO_USER-}
    if [ -n "$name" ] && id -u -- "$name" >/dev/null 2>&1; then
        caller=(! -uid "$(id -u -- "$name")")
        # A group of that name is that account's alone.
        if [ "$(id -gn -- "$name")" = "$name" ]; then group=(! -gid "$(id -g -- "$name")"); fi
    fi
    [ -z "$(find "$@" \( -type l -o ! -uid 0 "${caller[@]}" -o ! \( -type d -perm -1000 \) \
        \( -perm -0002 -o -perm -0020 ! -gid 0 "${group[@]}" \) \) -print -quit 2>&1)" ]
}

# The same of a path and of every folder above it.
roots_path() { # roots_path PATH
    local path
    path=$(realpath -e -- "$1" 2>/dev/null) || return 1
    while roots_alone "$path" -maxdepth 0; do
        if [ "$path" = / ]; then return; fi
        path=$(dirname -- "$path")
    done
    return 1
}

# Root's own Python, for root's small step.
roots_python() {
    local candidate
    for candidate in /usr/bin/python3 /usr/libexec/platform-python /usr/local/bin/python3 \
        python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        if candidate=$(realpath -e -- "$(type -P -- "$candidate")" 2>/dev/null) && roots_path "$candidate" && new_enough "$candidate"; then
            ROOT_PYTHON=$candidate
            return
        fi
    done
    fail 4 "root has no Python 3.10 or newer of its own, which nobody else can change" "install one (package python3)"
}

# Root's own code, which becomes the account and does what only root can.
root_code() { # root_code FOLDER
    local part
    for part in bootstrap cookbooks roles; do
        if ! roots_path "$1/$part" || ! roots_alone "$1/$part"; then
            fail 4 "$1 can be written by others than root, who is to run it for $LOGIN" "have a copy where only root can write, and run that: cp -R $1 /opt/cncp && chown -R root:root /opt/cncp && CNCP_USER=$LOGIN bash /opt/cncp/baremetal.sh"
        fi
    done
    as_account test -r "$1/bootstrap/stage0.py" ||
        fail 4 "$LOGIN cannot read the code in $1" "have a copy where everybody can read and only root can write, such as /opt/cncp"
}

# Print the version of a Python, as 3.12.1; fails where it is none.
version_of() { as_account "$1" -I -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])'; }

new_enough() { as_account "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 10))'; }

find_python() { # find_python NAMED
    local candidate path version unusable='' hint="name one with --python (its path, or a version) or CNCP_PYTHON, or leave it out"
    if [[ $1 =~ ^3(\.[0-9]+){0,2}$ ]]; then
        # On PATH, or where pyenv and uv keep theirs.
        for candidate in "python$(cut -d. -f1,2 <<<"$1")" python3 "$LOGIN_HOME/.pyenv/versions/$1"*/bin/python3 \
            "$LOGIN_HOME/.local/share/uv/python/cpython-$1"*/bin/python3; do
            version=$(version_of "$candidate") || continue
            if [[ $version. == "$1".* ]] && new_enough "$candidate"; then
                PYTHON=$(type -P -- "$candidate")
                return
            fi
        done
        fail 4 "there is no Python $1 on this machine${version:+; python3 is $version}" "$hint"
    elif [ -n "$1" ]; then
        path=$(type -P -- "$1" || true)
        # The account does not stand in the folder that root stands in.
        case $path in '' | /*) ;; *) path=$PWD/$path ;; esac
        if [ -n "$path" ] && new_enough "$path"; then
            PYTHON=$path
            return
        fi
        [ -n "$path" ] || fail 4 "there is no program $1 on this machine" "$hint"
        as_account test -x "$path" || fail 4 "$LOGIN cannot run $1" "$hint"
        version=$(version_of "$1") || fail 4 "$1 is not a Python" "$hint"
        fail 4 "$1 is Python $version; 3.10 or newer is needed" "$hint"
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.10 /usr/bin/python3; do
        # Those of one name that stand one after the other on PATH: the first may be root's alone.
        while read -r path; do
            if [ -n "$path" ] && new_enough "$path"; then
                PYTHON=$path
                return
            fi
            if [ -n "$path" ] && [ -z "$unusable" ] && ! as_account test -x "$path"; then unusable=$path; fi
        done <<<"$(type -aP -- "$candidate")"
    done
    if [ -n "$unusable" ]; then fail 4 "$LOGIN cannot run $unusable, and there is no other Python 3.10 or newer" "install one (package python3)"; fi
    fail 4 "there is no Python 3.10 or newer on this machine" "install one (package python3), or name one with CNCP_PYTHON"
}

# The account whose cluster it is: who called sudo, else who runs this.
find_login() {
    local named
    LOGIN=$(id -un)
    LOGIN_HOME=${HOME-}
    named=${CNCP_USER:-${SUDO_USER-}}
    if [ "$(id -u)" -ne 0 ] || [ -z "$named" ] || [ "$named" = root ]; then return; fi
    id -u -- "$named" >/dev/null 2>&1 || fail 2 "there is no account $named on this machine" "set CNCP_USER to one that is"
    if [ "$(id -u -- "$named")" -eq 0 ]; then return; fi
    roots_python
    LOGIN=$named
    LOGIN_HOME=$("$ROOT_PYTHON" -I -c 'import pwd, sys; print(pwd.getpwnam(sys.argv[1]).pw_dir)' "$LOGIN")
}

# Whether a program does well as the account: where this is root, with none of root's rights and away from root's
# terminal. What it says is left out here and not by the caller, who may be interrupted and then has something to say.
as_account() {
    if [ -z "$ROOT_PYTHON" ]; then
        "$@" 2>/dev/null
    else
        command -v runuser >/dev/null || fail 4 "there is no runuser to act as $LOGIN with" "install the package util-linux, or run this as $LOGIN"
        # From / because root's working directory may be closed to that user.
        (cd / && setsid --wait runuser -u "$LOGIN" -- env HOME="$LOGIN_HOME" USER="$LOGIN" LOGNAME="$LOGIN" "$@" </dev/null 2>/dev/null)
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
    "${limit[@]}" git "${GIT[@]}" "$@"
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

# Refuse a folder whose name programs cannot cope with, or that others could exchange for another before
# anything is put there: `preflight.py` says why, and looks again.
check_home() { # check_home FOLDER
    local folder=$1 owner mode uid hint="set CNCP_HOME to a folder that is yours alone"
    case $1 in
    *:* | *[[:cntrl:]]*) fail 4 "the name ${1@Q} holds a colon or a control character" "set CNCP_HOME to a folder of another name" ;;
    esac
    uid=$(id -u "$LOGIN")
    while true; do
        if [ -e "$folder" ]; then
            read -r owner mode <<<"$(stat -L -c '%u %a' -- "$folder")"
            if [ "$owner" != 0 ] && [ "$owner" != "$uid" ]; then fail 4 "$folder belongs to another account" "$hint"; fi
            if [ $((8#$mode & 8#1002)) -eq 2 ]; then fail 4 "others can write to $folder" "chmod go-w it, or $hint"; fi
        fi
        if [ "$folder" = "$LOGIN_HOME" ] || [ "$folder" = / ]; then break; fi
        folder=$(dirname -- "$folder")
    done
}

# The folder that holds all we keep. What is missing above it is noted, for an uninstall to take away.
make_home() { # make_home FOLDER
    local folder=$1 missing=()
    check_home "$1"
    if [ -d "$1" ]; then return; fi
    while folder=$(dirname -- "$folder") && [ ! -d "$folder" ]; do missing+=("$folder"); done
    # shellcheck disable=SC2174  # the mode is for that folder alone
    mkdir -p -m "$([ -n "$ROOT_PYTHON" ] && echo 755 || echo 700)" -- "$1" || fail 4 "$1 cannot be made" "set CNCP_HOME to a folder that can be"
    if [ "${#missing[@]}" -gt 0 ]; then printf '%s\n' "${missing[@]}" >"$1/parents"; fi
}

# A sparse, shallow clone of what provisioning needs, made beside the old one and put in its place.
clone() { # clone URL REF FOLDER
    local url=$1 ref=$2 folder=$3 new=$3.new has='' wanted said
    command -v git >/dev/null || fail 4 "there is no git to get the code with" "install the package git, or use a bundle: --offline FILE"
    if [ -f "$folder/bootstrap/stage0.py" ]; then
        has=$(git "${GIT[@]}" --git-dir="$folder/.git" rev-parse --verify --quiet HEAD 2>/dev/null) || has="an unknown version"
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
    rm -rf -- "$new"
    mkdir -p -- "$new"
    if ! said=$(checkout "$url" "${wanted:-$ref}" "$new" 2>&1); then
        rm -rf -- "$new"
        if [ -n "$has" ]; then
            warn "$url did not give $ref; going on with the code of the last run ($has)"
            return
        fi
        said=$(grep -m 1 -E '^(fatal|error): ' <<<"$said" || tail -n 1 <<<"$said")
        fail 1 "$url did not give $ref: $said" "check CNCP_REPO_URL and CNCP_REF, or use a bundle: --offline FILE"
    fi
    put_in_place "$folder" "$ref of $url"
}

checkout() { # checkout URL COMMIT FOLDER
    # No -e here, where the caller asks how it ended.
    git "${GIT[@]}" -C "$3" init --quiet &&
        git "${GIT[@]}" -C "$3" config remote.origin.url "$1" &&
        git "${GIT[@]}" -C "$3" config remote.origin.promisor true &&
        git "${GIT[@]}" -C "$3" config remote.origin.partialclonefilter blob:none &&
        git "${GIT[@]}" -C "$3" config core.sparseCheckout true &&
        mkdir -p -- "$3/.git/info" &&
        printf '%s\n' /baremetal.sh /bootstrap/ /cookbooks/ /notebooks/ /roles/ >"$3/.git/info/sparse-checkout" &&
        # A server that cannot filter sends all of one commit, which is small enough.
        quiet_git 300 -C "$3" fetch --quiet --depth 1 --filter=blob:none origin "$2" &&
        quiet_git 300 -C "$3" checkout --quiet --force --detach FETCH_HEAD
}

# What checks a bundle whole before any of its code runs, and then unpacks that: FOLDER DIGEST MANIFEST.
# It ends with 3 where MANIFEST, of the code that is there, is the bundle's.
UNBUNDLE='
import hashlib, json, os, sys, tarfile
folder, digest, present = sys.argv[1:]
stream = sys.stdin.buffer
def refuse(why):
    sys.stderr.write(why)
    sys.exit(1)
if digest:
    whole = hashlib.sha256()
    for chunk in iter(lambda: stream.read(1 << 20), b""):
        whole.update(chunk)
    if whole.hexdigest() != digest.lower():
        refuse("its SHA-256 is " + whole.hexdigest() + " and not " + digest)
    stream.seek(0)
try:
    with tarfile.open(fileobj=stream) as archive:
        first = archive.next()
        if first is None or first.name != "manifest.json" or not first.isreg():
            refuse("it holds no manifest")
        manifest = archive.extractfile(first).read()
        members = dict(json.loads(manifest)["members"])
        try:
            known = open(present, "rb").read() == manifest
        except OSError:
            known = False
        if known:
            sys.exit(3)
        code = {}
        for entry in archive:
            if entry.offset == first.offset:
                continue
            if not entry.isreg() or entry.name not in members or ".." in entry.name.split("/") or entry.name[:1] == "/":
                refuse(entry.name + " is not in its manifest")
            content = archive.extractfile(entry).read()
            if hashlib.sha256(content).hexdigest() != members.pop(entry.name):
                refuse("it is damaged: " + entry.name + " is not what it was")
            if entry.name.startswith("code/"):
                code[entry.name[5:]] = (content, entry.mode & 0o755)
        if members:
            refuse("it is damaged: " + sorted(members)[0] + " is missing")
except (OSError, EOFError, ValueError, KeyError, TypeError, tarfile.TarError) as error:
    refuse(str(error).partition("\n")[0].rstrip(":"))
for name, (content, mode) in {**code, "manifest.json": (manifest, 0o644)}.items():
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)
'

unbundle() { # unbundle FILE DIGEST FOLDER
    local file=$1 digest=$2 folder=$3 new=$3.new said status=0 present=$3/manifest.json
    if [ -d "$file" ]; then fail 2 "$file is a folder; a script that stands alone needs the bundle itself" "name the file that cncp bundle.make wrote"; fi
    [ -f "$file" ] || fail 2 "there is no bundle $file" "name the file that cncp bundle.make wrote"
    [ -f "$folder/bootstrap/stage0.py" ] || present=/dev/null
    rm -rf -- "$new"
    # Opened here and unpacked there: the login user need not be able to read the file.
    said=$("$PYTHON" -I -c "$UNBUNDLE" "$new" "$digest" "$present" <"$file" 2>&1) || status=$?
    if [ "$status" -eq 3 ]; then return; fi
    if [ "$status" -ne 0 ]; then
        rm -rf -- "$new"
        fail 2 "$file is not the bundle that was made: ${said##*$'\n'}" "get it again, or name the file that cncp bundle.make wrote"
    fi
    say "unpacked the code of $file"
    put_in_place "$folder" "$file"
}

put_in_place() { # put_in_place FOLDER ORIGIN
    if [ ! -f "$1.new/bootstrap/stage0.py" ]; then
        rm -rf -- "$1.new"
        fail 1 "$2 is not this project: it holds no bootstrap/stage0.py" "check CNCP_REPO_URL and CNCP_REF"
    fi
    rm -rf -- "$1.old"
    if [ -e "$1" ]; then mv -- "$1" "$1.old"; fi
    mv -- "$1.new" "$1"
    rm -rf -- "$1.old"
}

# Get the code, for a script that stands alone, into FOLDER. One run at a time.
get_code() { # get_code FOLDER ARGUMENT...
    local folder=$1 bundle digest url ref
    shift
    bundle=$(option --offline "$@")
    bundle=${bundle:-${CNCP_OFFLINE-}}
    digest=$(option --offline-digest "$@")
    digest=${digest:-${CNCP_OFFLINE_DIGEST-}}
    url=${CNCP_REPO_URL:-$STAMPED_URL}
    ref=${CNCP_REF:-${STAMPED_REF:-HEAD}}
    case $bundle$url in
    '') fail 2 "this script stands alone and does not know where the code is" "set CNCP_REPO_URL (and CNCP_REF), or run it from a checkout" ;;
    esac
    # What begins with a dash would be an option of git's.
    if [[ $url == -* || $url =~ [[:cntrl:]] ]]; then fail 2 "CNCP_REPO_URL is $url, which is no URL" "set it to what git clone takes"; fi
    if [[ $ref == -* || $ref =~ [[:cntrl:][:space:]~^:?*\[\\] ]]; then fail 2 "CNCP_REF is $ref, which is no name of a commit" "set it to a branch, a tag or a commit"; fi
    # Nobody vouches for what comes by these, unless it is a commit of a known hash.
    if [[ -z $bundle && $url =~ ^(http|git):// && ! $ref =~ ^[0-9a-f]{40}$ ]] && ! switch '' CNCP_PLAIN_URL; then
        fail 2 "$url is not encrypted: whoever is on the way could put code in its place" "use https:// or ssh, or set CNCP_REF to the commit's 40 digits, or CNCP_PLAIN_URL=true"
    fi
    if [ -n "$bundle" ] && [ ! -e "$bundle" ]; then fail 2 "there is no bundle $bundle" "name the file that cncp bundle.make wrote"; fi
    # The account is to read what root keeps here.
    if [ -n "$ROOT_PYTHON" ]; then umask 022; fi
    make_home "${folder%/*}"
    touch -- "$folder.lock" || fail 4 "${folder%/*} is not writable" "set CNCP_HOME to a folder that is"
    exec 9<"$folder.lock"
    if command -v flock >/dev/null; then flock 9; fi
    # Cut off between two renames: what was there before is as good as new.
    if [ ! -e "$folder" ] && [ -e "$folder.old" ]; then mv -- "$folder.old" "$folder"; fi
    if [ -n "$bundle" ]; then
        unbundle "$bundle" "$digest" "$folder"
    else
        clone "$url" "$ref" "$folder"
    fi
    # Whatever is started from here on must not hold the lock.
    exec 9<&-
}

# What is set for this login's own use of a program is not for ours: `surroundings.py` has the list,
# and says what counts. Nor may a function of that login's stand in for a program.
own_surroundings() {
    local name kept='^GIT_(SSH|SSL_|ASKPASS|TERMINAL_PROMPT|PROXY_|HTTP_|CONFIG_|ALLOW_PROTOCOL|PROTOCOL_FROM_USER)'
    while read -r _ _ name; do unset -f "$name"; done < <(declare -Fx)
    unset BASH_ENV ENV CDPATH GLOBIGNORE POSIXLY_CORRECT GREP_OPTIONS TAR_OPTIONS __PYVENV_LAUNCHER__
    for name in ${!PYTHON@} ${!VIRTUALENV_@}; do [ "$name" = PYTHON ] || unset "$name"; done
    for name in ${!GIT_@}; do [[ $name =~ $kept ]] || unset "$name"; done
    # Nobody else may write to what is made here, whatever this login's habit is.
    umask "$(printf '%04o' $((8#$(umask) | 8#022)))"
}

# The folder this script is in, "" where it comes from standard input.
own_folder() {
    local source=${BASH_SOURCE[0]-}
    if [ -f "$source" ]; then CDPATH='' cd -- "$(dirname -- "$source")" && pwd; fi
}

# Where a script that stands alone keeps the code: for another account root does, where only root can write.
lone_folder() {
    if [ -n "$ROOT_PYTHON" ]; then
        printf '/usr/local/lib/cncp/%s/code' "$LOGIN"
    else
        printf '%s/code' "${CNCP_HOME:-$LOGIN_HOME/.local/share/cncp}"
    fi
}

# Any verb, by root for another account: the account's own cncp as that account, with root at hand.
as_cncp() {
    local code
    if [ -z "$ROOT_PYTHON" ]; then fail 2 "command line: cncp is for root, and for another account: CNCP_USER" "run cncp itself"; fi
    code=$(own_folder)
    if [ ! -f "$code/bootstrap/asroot.py" ]; then code=$(lone_folder); fi
    root_code "$code"
    exec "$ROOT_PYTHON" -I -B "$code/bootstrap/asroot.py" run "$LOGIN" "${CNCP_HOME:-$LOGIN_HOME/.local/share/cncp}/venv/bin/python" -I -Xutf8 -m cncp "$@"
}

main() {
    local argument here code named
    # Python says the same of itself, from its first import on.
    trap 'echo "interrupted: what was done stays; bash ./baremetal.sh goes on from there" >&2; exit 130' INT
    if [ "${1-}" = cncp ]; then
        own_surroundings
        find_login
        as_cncp "${@:2}"
    fi
    for argument in "$@"; do
        case $argument in
        -h | --help)
            usage
            exit 0
            ;;
        esac
    done
    case ${1-} in
    '' | -*) ;;
    *) fail 2 "command line: $1 is no option; this script has no commands" "installed by it, cncp has: cncp $*" ;;
    esac
    own_surroundings
    # bash 5 has a clock; its decimal sign is the locale's.
    CNCP_BEGAN=${EPOCHREALTIME:-$(date +%s)}
    export CNCP_BEGAN=${CNCP_BEGAN/,/.}
    if switch --quiet CNCP_QUIET "$@"; then QUIET=yes; fi
    find_login
    named=$(option --join "$@")
    if [ -n "$ROOT_PYTHON" ] && [ -n "$named" ] && [ "$named" != - ]; then
        # Opened by root: the account need not be able to read the seed where it lies.
        [ -f "$named" ] || fail 2 "there is no seed in $named" "name the file of a seed, or - for standard input"
        exec <"$named"
        set -- "$@" --join -
    fi
    named=$(option --python "$@")
    find_python "${named:-${CNCP_PYTHON-}}"
    here=$(own_folder)
    code=$here
    if [ -z "$here" ] || [ ! -f "$here/bootstrap/stage0.py" ]; then
        check_options "$@"
        code=$(lone_folder)
        case $code in
        /*) ;;
        *) code=$PWD/$code ;;
        esac
        get_code "$code" "$@"
    fi
    # -S: stage0 has it done once it can say that it was interrupted.
    if [ -n "$ROOT_PYTHON" ]; then
        root_code "$code"
        exec "$ROOT_PYTHON" -I -B "$code/bootstrap/asroot.py" run "$LOGIN" "$PYTHON" -I -S "$code/bootstrap/stage0.py" "$@"
    fi
    exec "$PYTHON" -I -S "$code/bootstrap/stage0.py" "$@"
}

{
    main "$@"
    exit
}
