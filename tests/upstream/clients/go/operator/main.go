// An operator on controller-runtime: a Website has a page and a number of replicas; the operator keeps a ConfigMap with the page and a
// Deployment that serves it, reports in the status, and holds a finalizer until it has noted the end in a ledger.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const finalizer = "example.org/ledger"

var version = schema.GroupVersion{Group: "example.org", Version: "v1"}

// Website is what the operator looks after.
type Website struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              WebsiteSpec   `json:"spec"`
	Status            WebsiteStatus `json:"status,omitempty"`
}

// WebsiteSpec is what is wanted.
type WebsiteSpec struct {
	Page     string `json:"page"`
	Image    string `json:"image"`
	Replicas int32  `json:"replicas"`
}

// WebsiteStatus is how it stands.
type WebsiteStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Ready              int32              `json:"ready"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
}

// WebsiteList is a list of them.
type WebsiteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Website `json:"items"`
}

// DeepCopyObject makes a copy.
func (w *Website) DeepCopyObject() runtime.Object {
	copied := *w
	w.ObjectMeta.DeepCopyInto(&copied.ObjectMeta)
	copied.Status.Conditions = append([]metav1.Condition(nil), w.Status.Conditions...)
	return &copied
}

// DeepCopyObject makes a copy.
func (l *WebsiteList) DeepCopyObject() runtime.Object {
	copied := WebsiteList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for index := range l.Items {
		copied.Items = append(copied.Items, *l.Items[index].DeepCopyObject().(*Website))
	}
	return &copied
}

type reconciler struct{ client.Client }

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	site := &Website{}
	if err := r.Get(ctx, request.NamespacedName, site); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !site.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.finish(ctx, site)
	}
	if controllerutil.AddFinalizer(site, finalizer) {
		if err := r.Update(ctx, site); err != nil {
			return ctrl.Result{}, err
		}
	}
	page := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: site.Name, Namespace: site.Namespace}}
	if _, err := controllerutil.CreateOrUpdate(ctx, r.Client, page, func() error {
		page.Data = map[string]string{"index.html": site.Spec.Page}
		return controllerutil.SetControllerReference(site, page, r.Scheme())
	}); err != nil {
		return ctrl.Result{}, err
	}
	server := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: site.Name, Namespace: site.Namespace}}
	if _, err := controllerutil.CreateOrPatch(ctx, r.Client, server, func() error {
		shape(server, site)
		return controllerutil.SetControllerReference(site, server, r.Scheme())
	}); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.report(ctx, site, server)
}

func shape(server *appsv1.Deployment, site *Website) {
	labels, grace := map[string]string{"site": site.Name}, int64(0)
	server.Spec.Replicas = &site.Spec.Replicas
	server.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	server.Spec.Template.Labels = labels
	pod := &server.Spec.Template.Spec
	pod.TerminationGracePeriodSeconds = &grace
	source := corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: site.Name}}
	pod.Volumes = []corev1.Volume{{Name: "page", VolumeSource: corev1.VolumeSource{ConfigMap: &source}}}
	pod.Containers = []corev1.Container{{
		Name: "web", Image: site.Spec.Image, Command: []string{"httpd", "-f", "-p", "8080", "-h", "/page"},
		VolumeMounts: []corev1.VolumeMount{{Name: "page", MountPath: "/page"}},
	}}
}

func (r *reconciler) report(ctx context.Context, site *Website, server *appsv1.Deployment) error {
	before := client.MergeFrom(site.DeepCopyObject().(*Website))
	site.Status.ObservedGeneration, site.Status.Ready = site.Generation, server.Status.ReadyReplicas
	condition := metav1.Condition{Type: "Available", Status: metav1.ConditionFalse, Reason: "Starting", ObservedGeneration: site.Generation}
	if server.Status.ReadyReplicas == site.Spec.Replicas {
		condition.Status, condition.Reason = metav1.ConditionTrue, "Serving"
	}
	meta.SetStatusCondition(&site.Status.Conditions, condition)
	return r.Status().Patch(ctx, site, before)
}

func (r *reconciler) finish(ctx context.Context, site *Website) error {
	if !controllerutil.ContainsFinalizer(site, finalizer) {
		return nil
	}
	ledger := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "ledger", Namespace: site.Namespace}}
	if _, err := controllerutil.CreateOrUpdate(ctx, r.Client, ledger, func() error {
		if ledger.Data == nil {
			ledger.Data = map[string]string{}
		}
		ledger.Data[site.Name] = string(site.UID)
		return nil
	}); err != nil {
		return err
	}
	controllerutil.RemoveFinalizer(site, finalizer)
	return r.Update(ctx, site)
}

func main() {
	kubeconfig := flag.String("cluster", "", "the kubeconfig")
	namespace := flag.String("namespace", "default", "where to work")
	flag.Parse()
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	must(err)
	scheme := runtime.NewScheme()
	must(clientgoscheme.AddToScheme(scheme))
	scheme.AddKnownTypes(version, &Website{}, &WebsiteList{})
	metav1.AddToGroupVersion(scheme, version)
	wait := 10 * time.Second
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, GracefulShutdownTimeout: &wait,
		Cache:          cache.Options{DefaultNamespaces: map[string]cache.Config{*namespace: {}}},
		LeaderElection: true, LeaderElectionID: "websites.example.org", LeaderElectionNamespace: *namespace, LeaderElectionReleaseOnCancel: true,
	})
	must(err)
	must(ctrl.NewControllerManagedBy(manager).For(&Website{}).Owns(&appsv1.Deployment{}).Owns(&corev1.ConfigMap{}).
		Complete(&reconciler{manager.GetClient()}))
	fmt.Println("started")
	must(manager.Start(ctrl.SetupSignalHandler()))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
