#!/bin/sh
# Installs what the benchmark measures against: Debian packages (as root), and
# ghostunnel built from its Go module into bin/peers. Each is optional but
# redis-server and redis-benchmark; bench leaves out what it does not find.
set -eu

packages='redis-server redis-tools haproxy stunnel4 nutcracker'
ghostunnel='github.com/ghostunnel/ghostunnel v1.8.4'
# The go-landlock that ghostunnel v1.8.4 asks for has no entry in the checksum database; a later one compiles as well.
landlock='github.com/landlock-lsm/go-landlock v0.11.0'

root=$(cd "$(dirname "$0")/.." && pwd)

missing=''
for program in redis-server redis-benchmark haproxy stunnel4 nutcracker; do
	command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
if [ -z "$missing" ]; then
	echo "packages: all there"
elif ! command -v apt-get >/dev/null 2>&1; then
	echo "missing:$missing. Install them with your system's package manager (on Debian: $packages)." >&2
	exit 1
elif [ "$(id -u)" -ne 0 ]; then
	echo "missing:$missing. As root: apt-get install $packages" >&2
	exit 1
else
	apt-get update
	# RUNLEVEL=1 keeps the packages from starting their services.
	# shellcheck disable=SC2086 # a list of words is meant
	RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages
fi

if command -v ghostunnel >/dev/null 2>&1 || [ -x "$root/bin/peers/ghostunnel" ]; then
	echo "ghostunnel: there"
	exit 0
fi
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT INT TERM
printf 'module peers\n\ngo 1.26\n\nrequire (\n\t%s\n\t%s\n)\n' "$ghostunnel" "$landlock" >"$build/go.mod"
mkdir -p "$root/bin/peers"
echo "ghostunnel: building, this takes some minutes"
if (cd "$build" && GOFLAGS=-mod=mod GOWORK=off go build -trimpath -o "$root/bin/peers/ghostunnel" github.com/ghostunnel/ghostunnel); then
	echo "ghostunnel: in bin/peers"
else
	echo "ghostunnel could not be built; the benchmark runs without it" >&2
fi
