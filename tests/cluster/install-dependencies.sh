#!/bin/sh
# Installs the Debian packages that the embedded cluster needs, to build (gcc to libseccomp-dev) and to run, and (jq and curl)
# that the checks on it need. Says and changes nothing when all are there. Run it as root.
set -eu

packages="gcc libc6-dev pkg-config libseccomp-dev iproute2 nftables mount ca-certificates jq curl"

missing=""
for package in $packages; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || status=absent
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "these packages are missing:$missing; run this script as root, such as with sudo" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of names
if ! apt-get install --yes --no-install-recommends $missing; then
    # The package lists may be old or absent.
    apt-get update
    apt-get install --yes --no-install-recommends $missing
fi
