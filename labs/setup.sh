#!/bin/sh
# Sets a Debian 12 machine up: labs/setup.sh [tests]
# Brings what is missing and nothing else: Debian packages, uv, .venv from uv.lock; with "tests" also upstream's suites (by Go).
set -eu
cd "$(dirname "$0")/.."

PACKAGES="containerd runc nftables iproute2 conntrack busybox-static e2fsprogs xfsprogs btrfs-progs libnftables1 util-linux mount procps python3 python3-venv"
TEST_PACKAGES="bind9-dnsutils iputils-ping ca-certificates git strace iptables openssl qemu-system-x86 dnsperf iperf3 wrk curl netcat-openbsd clang fio"
CSI_SANITY=github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity@v5.6.0
CNITOOL=github.com/containernetworking/cni/cnitool@v1.3.1
CNI_PLUGINS=github.com/containernetworking/plugins
CNI_PLUGINS_VERSION=v1.9.1
GO_TOOLCHAIN=v0.0.1-go1.26.0.linux-amd64
MODULES="$CNI_PLUGINS@$CNI_PLUGINS_VERSION k8s.io/kubernetes@v1.37.2 k8s.io/api@v0.37.2 k8s.io/apimachinery@v0.37.2 k8s.io/apiextensions-apiserver@v0.37.2 k8s.io/kube-aggregator@v0.37.2 github.com/coredns/coredns@v1.15.0"

installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

debian_packages() {
    missing=""
    for package in "$@"; do installed "$package" || missing="$missing $package"; done
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || { echo "setup: not root, and these Debian packages are missing:$missing" >&2; exit 1; }
    echo "setup: installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# Debian's etcd without its service: installed as a package it would listen on the machine.
debian_etcd() {
    [ -x build/bin/etcd ] && return 0
    echo "setup: bringing Debian's etcd into build/bin"
    mkdir -p build/bin build/etcd
    [ "$(id -u)" != 0 ] || apt-get update -qq
    (cd build/etcd && apt-get download -qq etcd-server 2>/dev/null && dpkg -x etcd-server_*.deb . && mv usr/bin/etcd ../bin/)
    rm -rf build/etcd
    [ -x build/bin/etcd ] || { echo "setup: Debian's package etcd-server could not be downloaded" >&2; exit 1; }
}

# The kernel of the machine in which tests run that need another one (tests/vm): unpacked, not installed.
debian_kernel() {
    [ -e build/vm/kernel/boot ] && return 0
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '$1 == "Depends:" && $2 ~ /^linux-image-/ {print $2; exit}')
    [ -n "$package" ] || { echo "setup: no Debian package linux-image-cloud-amd64: tests that need its kernel are skipped" >&2; return 0; }
    echo "setup: bringing Debian's cloud kernel into build/vm"
    rm -rf build/vm && mkdir -p build/vm/new
    (cd build/vm && apt-get download -qq "$package" 2>/dev/null && dpkg -x "$package"_*.deb new && rm -f "$package"_*.deb)
    busybox depmod -b build/vm/new "${package#linux-image-}"
    mv build/vm/new build/vm/kernel
}

# bird2 without its service likewise: routers in tests are birds in namespaces of their own.
debian_bird() {
    [ -x build/bin/bird ] && return 0
    debian_packages libssh-gcrypt-4 libreadline8
    echo "setup: bringing Debian's bird2 into build/bin"
    mkdir -p build/bin build/bird
    (cd build/bird && apt-get download -qq bird2 2>/dev/null && dpkg -x bird2_*.deb . && mv usr/sbin/bird usr/sbin/birdc ../bin/)
    rm -rf build/bird
    [ -x build/bin/bird ] || { echo "setup: Debian's package bird2 could not be downloaded" >&2; exit 1; }
}

# podman with what it needs likewise: a runtime of another family that knows CNI.
debian_podman() {
    [ -x build/podman/usr/bin/podman ] && return 0
    echo "setup: bringing Debian's podman into build/podman"
    rm -rf build/podman.new && mkdir -p build/podman.new
    (cd build/podman.new && apt-get download -qq podman conmon libgpgme11 libassuan0 libdevmapper1.02.1 libsubid4 2>/dev/null &&
        for package in *.deb; do dpkg -x "$package" .; done && rm -f ./*.deb)
    [ -x build/podman.new/usr/bin/podman ] || { echo "setup: Debian's package podman could not be downloaded" >&2; exit 1; }
    rm -rf build/podman && mv build/podman.new build/podman
}

# A registry of container images likewise: the one that Debian packages.
debian_registry() {
    [ -x build/bin/docker-registry ] && return 0
    echo "setup: bringing Debian's docker-registry into build/bin"
    mkdir -p build/bin build/registry
    (cd build/registry && apt-get download -qq docker-registry 2>/dev/null && dpkg -x docker-registry_*.deb . && mv usr/bin/docker-registry ../bin/)
    rm -rf build/registry
    [ -x build/bin/docker-registry ] || { echo "setup: Debian's package docker-registry could not be downloaded" >&2; exit 1; }
}

python_environment() {
    uv=$(command -v uv || true)
    if [ -z "$uv" ] || ! "$uv" --version >/dev/null 2>&1; then
        [ -x build/uv/bin/uv ] || { python3 -m venv build/uv && build/uv/bin/pip install -q --disable-pip-version-check "uv>=0.9"; }
        uv=build/uv/bin/uv
    fi
    "$uv" sync -q --frozen
}

find_go() {
    command -v go >/dev/null 2>&1 && return 0
    if [ ! -x build/go/bin/go ]; then
        echo "setup: bringing Go's tool chain for upstream's test suites"
        .venv/bin/python - "$GO_TOOLCHAIN" <<'PYTHON' || return 1
import io, os, pathlib, sys, urllib.request, zipfile
name = f"golang.org/toolchain@{sys.argv[1]}"
proxy = os.environ.get("GOPROXY", "https://proxy.golang.org").split(",")[0]
with urllib.request.urlopen(f"{proxy}/golang.org/toolchain/@v/{sys.argv[1]}.zip", timeout=300) as answer:
    archive = zipfile.ZipFile(io.BytesIO(answer.read()))
for member in archive.namelist():
    target = pathlib.Path("build/go") / member.removeprefix(name + "/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(archive.read(member))
    if "/bin/" in member or "/pkg/tool/" in member:
        target.chmod(0o755)
PYTHON
    fi
    PATH="$PWD/build/go/bin:$PATH"
    export PATH GOTOOLCHAIN=local
}

upstream_suites() {
    if ! find_go; then
        echo "setup: no Go and no Go module proxy: csi-sanity, cnitool and the comparison with upstream's files are skipped" >&2
        return 0
    fi
    for tool in "$CSI_SANITY" "$CNITOOL"; do
        name=$(basename "${tool%@*}")
        [ -x "build/bin/$name" ] || GOBIN="$PWD/build/bin" GOFLAGS=-mod=mod go install "$tool"
    done
    for plugin in main/bridge main/ptp ipam/host-local ipam/static meta/portmap meta/bandwidth meta/tuning meta/firewall; do
        [ -x "build/bin/cni/$(basename "$plugin")" ] ||
            GOBIN="$PWD/build/bin/cni" GOFLAGS=-mod=mod go install "$CNI_PLUGINS/plugins/$plugin@$CNI_PLUGINS_VERSION"
    done
    cache=$(go env GOMODCACHE)
    if [ ! -d build/cni-plugins ]; then  # the integration suite is run in a copy that can be written to
        (cd / && go mod download "$CNI_PLUGINS@$CNI_PLUGINS_VERSION")
        cp -r "$cache/$CNI_PLUGINS@$CNI_PLUGINS_VERSION" build/cni-plugins.new
        chmod -R u+w build/cni-plugins.new
        (cd build/cni-plugins.new && GOFLAGS=-mod=mod go test -run none ./integration >/dev/null)
        mv build/cni-plugins.new build/cni-plugins
    fi
    for module in $MODULES; do
        [ -d "$cache/$module" ] || (cd / && go mod download "$module")
    done
}

debian_packages $PACKAGES
if [ "${1:-}" = tests ]; then debian_packages $TEST_PACKAGES; debian_etcd; debian_bird; debian_podman; debian_registry; debian_kernel; fi
python_environment
if [ "${1:-}" = tests ]; then upstream_suites; fi
