#!/bin/sh
# Builds upstream's programs from Go modules into build/upstream: labs/upstream.sh kube-apiserver etcd e2e.test ...
# Twelve minutes when nothing is cached; a program that is there is left alone.
set -eu
cd "$(dirname "$0")/.."

KUBERNETES=v1.37.2
STAGING=v0.37.2
ETCD=v3.6.16
GINKGO=v2.32.0
COREDNS=v1.15.0
HELM=v3.22.0
PATH="$PWD/build/go/bin:$PATH"
export PATH GOFLAGS=-mod=mod CGO_ENABLED=0

# k8s.io/kubernetes can't be installed as a module of its own: its go.mod replaces the staging modules by folders. A module that requires the same
# versions, with those folders exchanged for the published modules, can.
kubernetes_module() {
    directory=build/upstream/kubernetes
    [ -f "$directory/go.mod" ] && return 0
    (cd / && go mod download "k8s.io/kubernetes@$KUBERNETES")
    source="$(go env GOMODCACHE)/k8s.io/kubernetes@$KUBERNETES"
    mkdir -p "$directory.new"
    sed -e "s#^module .*#module moorings.dev/upstream#" \
        -e "s#=> ./staging/src/k8s.io/\(.*\)#=> k8s.io/\1 $STAGING#" "$source/go.mod" >"$directory.new/go.mod"
    printf '\nrequire k8s.io/kubernetes %s\n' "$KUBERNETES" >>"$directory.new/go.mod"
    install -m 644 "$source/go.sum" "$directory.new/go.sum"
    mv "$directory.new" "$directory"
}

sidecars_module() {
    printf 'module moorings.dev/sidecars\n\ngo 1.26.0\n\nrequire (\n'
    printf '\tgithub.com/kubernetes-csi/%s\n' external-provisioner/v6\ v6.4.0 external-resizer/v2\ v2.3.0 external-snapshotter/v8\ v8.7.0
    for package in api apimachinery apiserver client-go component-base component-helpers; do printf '\tk8s.io/%s %s\n' "$package" "$STAGING"; done
    printf ')\n'
}

version_flags() {
    base=k8s.io/component-base/version
    echo "-s -w -X $base.gitVersion=$KUBERNETES -X $base.gitMajor=1 -X $base.gitMinor=37 -X $base.gitTreeState=clean"
}

build() {
    target="$PWD/build/upstream/$1"
    case "$1" in
    informer | operator) ;; # ours to change, and quickly built again
    *) [ -x "$target" ] && return 0 ;;
    esac
    echo "upstream: building $1"
    case "$1" in
    etcd)
        mkdir -p build/upstream/etcd-module
        printf 'module moorings.dev/etcd\n\ngo 1.26\n\nrequire go.etcd.io/etcd/server/v3 %s\n' "$ETCD" >build/upstream/etcd-module/go.mod
        (cd build/upstream/etcd-module && go build -ldflags "-s -w" -o "$target" go.etcd.io/etcd/server/v3)
        ;;
    e2e.test)
        kubernetes_module
        (cd build/upstream/kubernetes && go test -c -ldflags "$(version_flags)" -o "$target" k8s.io/kubernetes/test/e2e)
        ;;
    agnhost)
        kubernetes_module
        (cd build/upstream/kubernetes && go build -ldflags "$(version_flags)" -o "$target" k8s.io/kubernetes/test/images/agnhost)
        ;;
    ginkgo)
        GOBIN="$PWD/build/upstream" go install "github.com/onsi/ginkgo/v2/ginkgo@$GINKGO"
        ;;
    helm)
        GOBIN="$PWD/build/upstream" go install -ldflags "-s -w" "helm.sh/helm/v3/cmd/helm@$HELM"
        ;;
    coredns) # the plugins that a cluster's DNS needs; the main function that names them is ours
        mkdir -p build/upstream/coredns-module
        printf 'module moorings.dev/coredns\n\ngo 1.26\n\nrequire github.com/coredns/coredns %s\n' "$COREDNS" >build/upstream/coredns-module/go.mod
        cp tests/upstream/coredns/main.go build/upstream/coredns-module/
        (cd build/upstream/coredns-module && go build -ldflags "-s -w" -o "$target" .)
        ;;
    mock-csi) # the mock driver of the e2e suite; the main function is ours, the driver is not
        kubernetes_module
        mkdir -p build/upstream/mock-csi-module
        cp build/upstream/kubernetes/go.mod build/upstream/kubernetes/go.sum tests/upstream/mockcsi/main.go build/upstream/mock-csi-module/
        (cd build/upstream/mock-csi-module && go build -ldflags "-s -w" -o "$target" .)
        ;;
    csi-*) # the sidecars of csi/deploy/, in one module of newer Kubernetes packages than each asks for, as built with all else here
        mkdir -p build/upstream/csi-module
        [ -f build/upstream/csi-module/go.mod ] || sidecars_module >build/upstream/csi-module/go.mod
        case "$1" in
        csi-provisioner) package=external-provisioner/v6 ;;
        csi-resizer) package=external-resizer/v2 ;;
        csi-snapshotter) package=external-snapshotter/v8 ;;
        esac
        (cd build/upstream/csi-module && go build -ldflags "-s -w -X main.version=built-here" -o "$target" "github.com/kubernetes-csi/$package/cmd/$1")
        ;;
    informer | operator)
        (cd tests/upstream/clients/go && GOFLAGS=-mod=readonly go build -ldflags "-s -w" -o "$target" "./$1")
        ;;
    sample-apiserver)
        GOBIN="$PWD/build/upstream" go install -ldflags "-s -w" "k8s.io/sample-apiserver@$STAGING"
        ;;
    *)
        kubernetes_module
        (cd build/upstream/kubernetes && go build -ldflags "$(version_flags)" -o "$target" "k8s.io/kubernetes/cmd/$1")
        ;;
    esac
}

for program in "$@"; do build "$program"; done
