# shellcheck shell=bash
# Finds or installs what the scripts need. The scripts source this file, which changes to the root of the repository.
# All its messages go to stderr.

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "$@"
    exit 1
}

# Made absolute, because tests run in different folders.
case ${REDIS_SERVER:-} in
    /*) ;;
    */*) export REDIS_SERVER="$PWD/$REDIS_SERVER" ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

# Requires Cargo in the minimum version of Cargo.toml or later.
need_rust() {
    # A shell that was open while Rust was installed does not have it on PATH yet.
    PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    local minimum found
    minimum=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    command -v cargo > /dev/null || fail "No cargo on PATH: Rust is missing. Get it with

    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh

or as https://rust-lang.org/tools/install says; $minimum or later."
    found=$(cargo --version | cut -d ' ' -f 2)
    printf '%s\n' "$minimum" "$found" | sort -V -C || fail "Rust $found is too old: $minimum or later is needed." \
        "Update it with \`rustup update\`, or get one from https://rust-lang.org/tools/install."
}

# Requires a C compiler: the cryptography of TLS is partly C, and Rust uses it to link.
need_compiler() {
    command -v cc > /dev/null || install "No C compiler (cc) on PATH." gcc libc6-dev
}

# Requires a server: the one that REDIS_SERVER names, or one on PATH.
need_server() {
    [[ -n ${REDIS_SERVER:-} ]] || need_server_on_path
}

need_server_on_path() {
    command -v valkey-server > /dev/null || command -v redis-server > /dev/null || install_server
}

install_server() {
    if is_debian; then
        say "No server on PATH: installing the package redis-server. Its service is neither started nor enabled."
        as_root sh scripts/install-redis-server >&2
        hash -r
        command -v redis-server > /dev/null || fail "Installed, but no redis-server on PATH: $PATH"
        return
    fi
    fail "No valkey-server or redis-server on PATH. Install one$(package_command valkey)," \
        "or set REDIS_SERVER=/path/to/redis-server."
}

# install REASON PACKAGE…: installs Debian packages. On other systems, fails with the reason.
install() {
    local reason=$1
    shift
    is_debian || fail "$reason Install it with this system's package manager."
    say "$reason Installing: $*"
    # Partly outdated lists are usually good enough.
    as_root apt-get update -q >&2 || say "apt-get update failed; trying with the lists that are there."
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$@" >&2
    hash -r
}

# True on Debian, Ubuntu and their derivatives.
is_debian() {
    command -v apt-get > /dev/null
}

as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif command -v sudo > /dev/null; then
        sudo "$@"
    else
        fail "That takes root, and there is no sudo. As root, do

    cd $PWD && $*"
    fi
}

# Prints the command that installs a package on this system, as the end of a sentence.
package_command() {
    local root="sudo "
    [[ $EUID -ne 0 ]] || root=""
    if command -v brew > /dev/null; then
        echo " with \`brew install $1\`"
    elif command -v dnf > /dev/null; then
        echo " with \`${root}dnf install $1\`"
    elif command -v pacman > /dev/null; then
        echo " with \`${root}pacman -S $1\`"
    elif command -v zypper > /dev/null; then
        echo " with \`${root}zypper install $1\`"
    elif command -v apk > /dev/null; then
        echo " with \`${root}apk add $1\`"
    fi
}
