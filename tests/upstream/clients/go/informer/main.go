// A controller on client-go alone: two copies elect a leader by Lease; the leader mirrors every ConfigMap labelled "mirror" into a Secret
// of the same name, through shared informers and a rate-limited queue, and says so by an Event.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
)

type mirror struct {
	client   kubernetes.Interface
	maps     listers.ConfigMapLister
	secrets  listers.SecretLister
	queue    workqueue.TypedRateLimitingInterface[cache.ObjectName]
	recorder record.EventRecorder
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "the cluster")
	namespace := flag.String("namespace", "default", "where to work")
	identity := flag.String("identity", "", "the name of this copy")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	must(err)
	client, err := kubernetes.NewForConfig(config)
	must(err)
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Name: "mirror", Namespace: *namespace},
		Client:     client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: *identity},
	}
	leaderelection.RunOrDie(context.Background(), leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 300 * time.Millisecond,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { lead(ctx, client, *namespace, *identity) },
			OnStoppedLeading: func() { os.Exit(3) },
		},
	})
}

func lead(ctx context.Context, client kubernetes.Interface, namespace, identity string) {
	factory := informers.NewSharedInformerFactoryWithOptions(client, time.Hour, informers.WithNamespace(namespace))
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events(namespace)})
	m := &mirror{
		client:   client,
		maps:     factory.Core().V1().ConfigMaps().Lister(),
		secrets:  factory.Core().V1().Secrets().Lister(),
		queue:    workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[cache.ObjectName]()),
		recorder: broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "mirror"}),
	}
	add := func(object any) {
		if name, err := cache.DeletionHandlingObjectToName(object); err == nil {
			m.queue.Add(name)
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: add, UpdateFunc: func(_, object any) { add(object) }, DeleteFunc: add}
	for _, informer := range []cache.SharedIndexInformer{
		factory.Core().V1().ConfigMaps().Informer(), factory.Core().V1().Secrets().Informer(),
	} {
		_, err := informer.AddEventHandler(handler)
		must(err)
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			must(fmt.Errorf("%v: not synced", kind))
		}
	}
	fmt.Println("leading", identity)
	for {
		key, shutdown := m.queue.Get()
		if shutdown {
			return
		}
		if err := m.reconcile(ctx, key); err != nil {
			fmt.Fprintln(os.Stderr, key, err)
			m.queue.AddRateLimited(key)
		} else {
			m.queue.Forget(key)
		}
		m.queue.Done(key)
	}
}

func (m *mirror) reconcile(ctx context.Context, key cache.ObjectName) error {
	source, err := m.maps.ConfigMaps(key.Namespace).Get(key.Name)
	if errors.IsNotFound(err) {
		return nil // its mirror goes by its owner
	}
	if err != nil || source.Labels["mirror"] == "" {
		return err
	}
	wanted := map[string][]byte{}
	for name, value := range source.Data {
		wanted[name] = []byte(value)
	}
	secrets := m.client.CoreV1().Secrets(key.Namespace)
	found, err := m.secrets.Secrets(key.Namespace).Get(key.Name)
	switch {
	case errors.IsNotFound(err):
		made := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Name:            key.Name,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(source, corev1.SchemeGroupVersion.WithKind("ConfigMap"))},
		}, Data: wanted}
		if _, err := secrets.Create(ctx, made, metav1.CreateOptions{}); err != nil && !errors.IsAlreadyExists(err) {
			return err
		}
		m.recorder.Event(source, corev1.EventTypeNormal, "Mirrored", "made a Secret of "+key.Name)
		return nil
	case err != nil:
		return err
	case equality.Semantic.DeepEqual(found.Data, wanted):
		return nil
	}
	changed := found.DeepCopy()
	changed.Data = wanted
	_, err = secrets.Update(ctx, changed, metav1.UpdateOptions{})
	return err
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
