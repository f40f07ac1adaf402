// The mock driver of Kubernetes' own end-to-end suite as a program: a CSI driver that nobody here wrote.
package main

import (
	"context"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"k8s.io/kubernetes/test/e2e/storage/drivers/csi-test/driver"
	"k8s.io/kubernetes/test/e2e/storage/drivers/csi-test/mock/service"
)

func call(ctx context.Context, request interface{}, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (interface{}, error) {
	return handler(ctx, request)
}

func main() {
	mock := service.New(service.Config{DriverName: "mock.csi.k8s.io", NodeExpansionRequired: true, PermissiveTargetPath: true})
	server := driver.NewCSIDriver(&driver.CSIDriverServers{Controller: mock, Identity: mock, Node: mock})
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		panic(err)
	}
	if err := server.Start(listener, call); err != nil {
		panic(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	server.Stop()
}
