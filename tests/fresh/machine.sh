# Machines that have nothing: Debian by debootstrap, copied for each use. Sourced by tests/fresh.sh,
# tests/long/builds.sh and tests/long/unit.sh, which stand in the checkout. Sets `kept`, `temporary` and `commit`.
# shellcheck shell=bash

kept="$PWD/build/fresh"
temporary=""
root_home="/root" # on the machine

give_up() { echo "${0##*/}: $1" >&2; exit 1; }

finish() { [ -z "$temporary" ] || rm -rf --one-file-system "$temporary"; }

begin_machines() {
    local tool
    [ "$(id -u)" -eq 0 ] || give_up "only root can make a machine: sudo $0"
    for tool in debootstrap unshare git tar; do
        command -v "$tool" >/dev/null || give_up "$tool is missing: apt-get install debootstrap util-linux git tar"
    done
    commit="$(git rev-parse HEAD)" || give_up "this is no clone"
    [ -z "$(git status --porcelain -uno)" ] || echo "${0##*/}: what is not committed is not tried"
    mkdir -p "$kept"
    trap finish EXIT
    trap 'exit 130' INT TERM HUP
    temporary="$(mktemp -d "${TMPDIR:-/tmp}/permtab-fresh-XXXXXX")"
    chmod 755 "$temporary"
}

# mirror_of KIND: the first mirror of Debian (main) or of its security updates (security) that apt uses here.
mirror_of() {
    command -v apt-get >/dev/null || return 0
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(ORIGIN)' 'Created-By: Packages' | awk -v kind="$1" '
        $3 != "" && $3 != "Debian" { next }
        (kind == "security") == ($2 ~ /-security$/) { print $1; exit }'
}

# Prints what apt needs to reach its mirror from here, and nothing about what it installs.
apt_settings() {
    command -v apt-config >/dev/null || return 0
    apt-config dump | grep -E '^Acquire::(http|https|ftp|Check-Valid-Until|Check-Date|Retries)(::|:* )' |
        grep -v ' "";$'
}

write_sources() {
    local release="$1" tree="$2" main="$3" security="$4"
    rm -f "$tree/etc/apt/sources.list"
    {
        printf 'deb %s %s main\ndeb %s %s-updates main\n' "$main" "$release" "$main" "$release"
        [ -z "$security" ] || printf 'deb %s %s-security main\n' "$security" "$release"
    } >"$tree/etc/apt/sources.list"
    apt_settings >"$tree/etc/apt/apt.conf.d/90machine"
    [ ! -d /etc/apt/auth.conf.d ] || cp -a /etc/apt/auth.conf.d "$tree/etc/apt/"
}

# The pristine tree of a release, as a tar file: made once.
make_pristine() {
    local release="$1" tar="$kept/$1.tar" tree="$temporary/pristine" main security more=()
    [ ! -s "$tar" ] || return 0
    main="${PERMTAB_FRESH_MIRROR:-$(mirror_of main)}"
    [ -n "$main" ] || give_up "this machine's apt has no mirror of Debian; name one in PERMTAB_FRESH_MIRROR"
    [ -n "${PERMTAB_FRESH_MIRROR:-}" ] || security="$(mirror_of security)"
    [ "${main#https}" = "$main" ] || more+=(--include=ca-certificates)
    [ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ] ||
        more+=(--keyring=/usr/share/keyrings/debian-archive-keyring.gpg)
    echo "making $release"
    # It mounts /proc in the tree: in a namespace that goes with it.
    unshare --mount --propagation private debootstrap --variant=minbase "${more[@]}" "$release" "$tree" "$main" \
        >"$kept/$release.debootstrap.log" 2>&1 || return 1
    write_sources "$release" "$tree" "$main" "${security:-}"
    tar -C "$tree" -cf "$tar.new" --one-file-system . && mv "$tar.new" "$tar"
    rm -rf --one-file-system "$tree"
}

# new_machine RELEASE NAME: sets `tree` to a copy of the pristine tree.
new_machine() {
    tree="$temporary/$2"
    mkdir "$tree" && tar -C "$tree" -xpf "$kept/$1.tar" || return 1
    cp -L /etc/resolv.conf /etc/hosts "$tree/etc/"
}

# clone_into FOLDER: what is committed here, as one who lets nobody in would have it.
clone_into() {
    (umask 077 && git clone --quiet --no-hardlinks "$PWD" "$1" && git -C "$1" checkout --quiet --detach "$commit")
}

# The clone of somebody who works as root on the machine in `tree`.
clone_for_root() { clone_into "$tree$root_home/permtab"; }

remove_machine() { rm -rf --one-file-system "$tree"; }
