#!/usr/bin/env bash
# Installs what is missing of the given sections of deploy/packages.txt (all of them without an argument).
# Does nothing, and needs no rights, when everything is there. Servers that it installs are not started.
set -euo pipefail

list="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/packages.txt"

# names_of SECTION...: the package names of these sections, each once.
names_of() {
    awk -v wanted=" $* " '
        /^\[/ { section = substr($1, 2, length($1) - 2); next }
        $1 ~ /^[a-z0-9]/ && index(wanted, " " section " ") && !seen[$1]++ { print $1 }' "$list"
}

all_sections() { awk '/^\[/ { print substr($1, 2, length($1) - 2) }' "$list"; }

is_installed() {
    case "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null)" in
        ?i*) return 0 ;;
        *) return 1 ;;
    esac
}

sections=("$@")
[ $# -gt 0 ] || mapfile -t sections < <(all_sections)
for section in "${sections[@]}"; do
    if ! all_sections | grep -qx -- "$section"; then
        echo "install-packages: no section '$section' in $list" >&2
        exit 64
    fi
done
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "install-packages: this is not Debian or a relative of it; install by hand:" \
        "$(names_of "${sections[@]}" | tr '\n' ' ')" >&2
    exit 1
fi

missing=()
while read -r name; do
    is_installed "$name" || missing+=("$name")
done < <(names_of "${sections[@]}")
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install-packages: these packages are missing: ${missing[*]}" >&2
        echo "install-packages: run this as root, or install sudo" >&2
        exit 1
    fi
    as_root=(sudo)
fi

# Keeps the packages' scripts from starting servers: in a container that may fail, on a desk nobody asked for them.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
fi

echo "install-packages: installing ${missing[*]}"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0)
"${apt[@]}" update || echo "install-packages: could not refresh the package lists; going on with the old ones" >&2
"${apt[@]}" install --no-install-recommends "${missing[@]}"
