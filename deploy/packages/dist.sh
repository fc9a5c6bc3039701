#!/usr/bin/env bash
# Builds what is released into a folder: static binaries in archives, deb and rpm
# packages, a variant with Go's FIPS 140-3 module, the chart, bills of materials,
# checksums. Two runs over the same commit give the same bytes.
#   deploy/packages/dist.sh VERSION FOLDER
# ARCHES (amd64 arm64) and VARIANTS (plain fips) bound what is built.
set -euo pipefail
version=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$(dirname "$0")/../.."
root=$PWD
go=${GO:-go}
fips_module=${FIPS_MODULE:-v1.0.0}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export LC_ALL=C TZ=UTC CGO_ENABLED=0 GOFLAGS= GOWORK=off VERSION=$version
MTIME=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022

build() { # GOOS GOARCH fips-module binary
	GOOS=$1 GOARCH=$2 GOFIPS140=$3 "$go" build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" -o "$4" ./cmd/sallyport
}
pack() { # archive folder name: same bytes whoever packs it when
	tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=ustar -C "$2" -cf - "$3" | gzip -9n >"$1"
}

build "$("$go" env GOHOSTOS)" "$("$go" env GOHOSTARCH)" off "$work/host"
(cd deploy/tools && "$go" build -trimpath -o "$work/sbom" ./sbom)
mkdir -p "$work/man" "$work/completion"
"$work/host" man "$work/man"
gzip -9n "$work"/man/*.1
for shell in bash zsh fish; do "$work/host" completion "$shell" >"$work/completion/$shell"; done

for variant in ${VARIANTS:-plain fips}; do
	module=off suffix=''
	if [ "$variant" = fips ]; then module=$fips_module suffix=-fips; fi
	for arch in ${ARCHES:-amd64 arm64}; do
		name=sallyport$suffix-$version-linux-$arch
		stage=$work/$name
		mkdir -p "$stage"
		build linux "$arch" "$module" "$stage/sallyport"
		"$work/sbom" "$stage/sallyport" "$version" >"$out/$name.cdx.json"
		cp -r "$work/man" "$work/completion" "$stage/"
		cp LICENSE README.md SECURITY.md CHANGELOG.md deploy/systemd/sallyport.* deploy/packages/{sallyport,policy}.yaml "$stage/"
		pack "$out/$name.tar.gz" "$work" "$name"
		sed "s/^name: sallyport\$/name: sallyport$suffix/; s/\${MTIME}/$MTIME/" deploy/packages/nfpm.yaml >"$stage/nfpm.yaml"
		if [ -n "$suffix" ]; then printf 'conflicts: [sallyport]\nprovides: [sallyport]\n' >>"$stage/nfpm.yaml"; fi
		cp deploy/packages/*.sh "$stage/"
		find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
		for format in deb rpm; do
			(cd "$stage" && ARCH=$arch "$root/bin/tools/nfpm" package --config nfpm.yaml --packager "$format" --target "$out/$name.$format" >"$work/nfpm.log") || { cat "$work/nfpm.log" >&2; exit 1; }
		done
	done
done
cd "$out"
rm -f SHA256SUMS
sha256sum -- * >SHA256SUMS
