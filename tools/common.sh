# shellcheck shell=bash disable=SC2034
# common.sh: what tools/run and tools/test share; sourced, never run.
#
# Words to the user go through `say`; long commands through `step`, which keeps
# their output in build/tools/ and shows only how far they are.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
logs=$top/build/tools
mkdir -p "$logs"

say() { printf '%s\n' "$*"; }
fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# step TITLE COMMAND...: runs it quietly; its last lines are shown when it fails.
step() {
    local title=$1 log=$logs/step-$((++steps)).log started=$SECONDS shown=0 line
    shift
    printf '%s ...\n' "$title"
    "$@" >"$log" 2>&1 </dev/null &
    local child=$!
    while kill -0 "$child" 2>/dev/null; do
        sleep 0.2
        if ((SECONDS - started >= shown + 15)); then
            shown=$((SECONDS - started))
            line=$(tr '\r' '\n' <"$log" | grep -oE '^\[[0-9]+/[0-9]+\]' | tail -1) || true
            printf '  %d s %s\n' "$shown" "$line"
        fi
    done
    if ! wait "$child"; then
        tail -40 "$log" >&2
        fail "'$title' failed; all of its output is in ${log#"$top"/}"
    fi
    printf '  done in %d s\n' $((SECONDS - started))
}
steps=0

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else fail "needs root to install packages; run it as root or install sudo"
    fi
}

# install PACKAGE...: what of these is missing comes from the distribution.
install() {
    local missing=() package
    command -v dpkg-query >/dev/null || {
        say "This is not a Debian machine; the packages needed are named: $*"
        return 0
    }
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "Installing ${#missing[@]} packages: ${missing[*]}"
    [ "$(id -u)" -eq 0 ] || as_root true
    # No package may start a service: tests start their own, on their own ports.
    local policy=/usr/sbin/policy-rc.d has_policy=0
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        has_policy=1
    fi
    local status=0
    (
        step "apt-get update" as_root apt-get update -q
        step "apt-get install" as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends "${missing[@]}"
    ) || status=$?
    [ $has_policy -eq 0 ] || as_root rm -f "$policy"
    # Installing redis-server also enables it for the next boot; undo what we caused.
    case " ${missing[*]} " in
    *" redis-server "*)
        as_root update-rc.d redis-server disable >/dev/null 2>&1 || true
        ;;
    esac
    [ $status -eq 0 ] || exit $status
}

build_packages=(gcc libc6-dev cmake ninja-build pkg-config liburing-dev libck-dev libwslay-dev
    libssl-dev libjansson-dev libcjose-dev libcurl4-openssl-dev libyaml-dev libsqlite3-dev libhiredis-dev
    libroaring-dev nanopb libnanopb-dev protobuf-compiler libcmocka-dev libhttp-parser-dev)
