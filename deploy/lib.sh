# Sourced by deploy/run and deploy/test: what both need of a fresh machine. Says what is missing and how to get it.

RUST_NEEDED=1.95
BUILD_PACKAGES="build-essential pkg-config libclang-dev dpdk libdpdk-dev libnuma-dev"
RUN_PACKAGES="iproute2 iputils-ping curl nginx-light tcpdump procps ethtool bind9-dnsutils"
TEST_PACKAGES="iperf3 python3 python3-venv lua5.4 systemd prometheus mandoc strace frr bird2 keepalived radvd ndisc6 valgrind dpdk-dev nftables nfdump"
# For deploy/test --long alone: a virtual machine with emulated network cards.
VM_PACKAGES="qemu-system-x86 busybox-static cpio kmod udev driverctl dpkg-dev"

say()  { printf '\033[1m==> %s\033[0m\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Refuses what cannot work, before anything is changed.
require_system() {
    [ "$(uname -s)" = Linux ] || fail "Turnpike runs on Linux; this is $(uname -s)"
    . /etc/os-release 2>/dev/null || fail "/etc/os-release is missing: Debian 12 or 13 is needed"
    case "${ID:-}:${VERSION_ID:-}" in
        debian:12|debian:13) ;;
        *) fail "Debian 12 or 13 is needed; this is ${PRETTY_NAME:-unknown}. On another system install a libdpdk of 22.11 to 24.11, libclang and $RUN_PACKAGES by hand, then run: cargo build --release --workspace" ;;
    esac
    [ "$(id -u)" = 0 ] || fail "root is needed: packages are installed, and network namespaces and TAP ports made. Try: sudo $0 $*"
    [ -c /dev/net/tun ] || fail "/dev/net/tun is missing: TAP ports need it. Try: modprobe tun (in a container: --device /dev/net/tun --cap-add NET_ADMIN)"
    require_rust
}

require_rust() {
    command -v cargo >/dev/null || PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    command -v cargo >/dev/null || fail "Rust $RUST_NEEDED or later is needed; get it from https://rustup.rs, then open a new shell"
    have=$(rustc --version | awk '{print $2}')
    oldest=$(printf '%s\n%s\n' "$RUST_NEEDED" "$have" | sort -V | head -n 1)
    [ "$oldest" = "$RUST_NEEDED" ] || fail "Rust $RUST_NEEDED or later is needed; this is $have. Try: rustup update stable"
}

# Installs what is not installed yet; no network is used where nothing is missing.
install_packages() {
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "Installing:$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q=2 || fail "apt-get update failed: is the package registry reachable?"
    # Services stay off: the beds start their own in namespaces of their own.
    mask_services
    # shellcheck disable=SC2086 # one word a package
    apt-get install -q=2 -y --no-install-recommends $missing >/dev/null || fail "apt-get could not install:$missing"
    unmask_services
}

# Debian starts a service as soon as its package is installed, unless policy-rc.d says no.
mask_services() {
    [ -e /usr/sbin/policy-rc.d ] && return 0
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap unmask_services EXIT
    masked=1
}

unmask_services() {
    [ -n "${masked:-}" ] && rm -f /usr/sbin/policy-rc.d
    masked=
    trap - EXIT
}

# Builds all programs: with other packages at a time, cargo would choose other features of what they share, and build that anew.
build_programs() {
    cargo build --release --locked --workspace
}
