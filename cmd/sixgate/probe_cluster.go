package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/utils/ptr"

	"github.com/sixgate/sixgate/cmd/internal/live"
	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/sockets"
)

// catTables is what is run in a container. Of the text that it prints each table says itself which one it is.
func catTables() []string {
	command := []string{"cat"}
	for _, name := range tableFiles {
		command = append(command, "/proc/net/"+name)
	}
	return command
}

// pageSize of lists, as kubectl's.
const pageSize = 500

// A prober reads pods through an API server.
type prober struct {
	*probeOptions
	config *rest.Config
	client rest.Interface // of the core group
	codec  runtime.ParameterCodec

	mu    sync.Mutex
	notes io.Writer // what was changed in the cluster
}

// probeCluster adds the pods of a cluster to the report.
func (o *probeOptions) probeCluster(ctx context.Context, r *probeReport, names []string, notes io.Writer) error {
	ctx = klog.NewContext(ctx, klog.Logger{}) // what matters is returned as an error
	p, namespace, err := o.connect(notes)
	if err != nil {
		return err
	}
	var pods []corev1.Pod
	if len(names) > 0 {
		for _, name := range names {
			var pod corev1.Pod
			name = strings.TrimPrefix(strings.TrimPrefix(name, "pods/"), "pod/")
			if err := p.client.Get().Namespace(namespace).Resource("pods").Name(name).Do(ctx).Into(&pod); err != nil {
				return p.refused("get pod "+namespace+"/"+name, "get", "pods", err)
			}
			pods = append(pods, pod)
		}
	} else if err := p.list(ctx, namespace, "pods", o.selector, func() (runtime.Object, func()) {
		list := &corev1.PodList{}
		return list, func() { pods = append(pods, list.Items...) }
	}); err != nil {
		return err
	}
	var services []corev1.Service
	if err := p.list(ctx, namespace, "services", "", func() (runtime.Object, func()) {
		list := &corev1.ServiceList{}
		return list, func() { services = append(services, list.Items...) }
	}); err != nil {
		return err
	}
	byName := func(a, b corev1.Pod) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	}
	slices.SortFunc(pods, byName)
	pods = slices.CompactFunc(pods, func(a, b corev1.Pod) bool { return byName(a, b) == 0 })
	inNamespace := map[string][]corev1.Service{}
	for _, s := range services {
		inNamespace[s.Namespace] = append(inNamespace[s.Namespace], s)
	}

	results := make([]*probeReport, len(pods))
	var wait sync.WaitGroup
	turns := make(chan struct{}, o.concurrency)
	for i := range pods {
		turns <- struct{}{}
		wait.Go(func() {
			defer func() { <-turns }()
			results[i] = p.probe(ctx, &pods[i], inNamespace[pods[i].Namespace])
		})
	}
	wait.Wait()
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("probe pods: %w", err)
	}
	for _, one := range results {
		r.Findings = append(r.Findings, one.Findings...)
		r.Targets = append(r.Targets, one.Targets...)
		r.Skipped = append(r.Skipped, one.Skipped...)
		r.Errors = append(r.Errors, one.Errors...)
	}
	return nil
}

// connect reads the kubeconfig as kubectl does. The namespace is "" for all.
func (o *probeOptions) connect(notes io.Writer) (*prober, string, error) {
	config, namespace, err := live.LoadConfig(o.kubeconfig, o.context, o.namespace)
	if clientcmd.IsEmptyConfig(errors.Unwrap(err)) {
		return nil, "", errors.New("read kubeconfig: there is none; name one with --kubeconfig, or read this machine with --pid or --proc")
	} else if err != nil {
		return nil, "", err
	}
	if o.allNamespaces {
		namespace = ""
	}
	config.UserAgent = "sixgate"
	config.WarningHandler = rest.NoWarnings{}
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, "", err
	}
	config.APIPath = "/api"
	config.GroupVersion = &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, "", fmt.Errorf("read kubeconfig: %w", err)
	}
	p := &prober{probeOptions: o, config: config, client: client, codec: runtime.NewParameterCodec(scheme), notes: notes}
	return p, namespace, nil
}

// list reads all pages of a list; page returns an empty one and what takes it when it is filled.
func (p *prober) list(ctx context.Context, namespace, resource, selector string, page func() (runtime.Object, func())) error {
	options := metav1.ListOptions{LabelSelector: selector, Limit: pageSize}
	for {
		list, take := page()
		if err := p.client.Get().Namespace(namespace).Resource(resource).VersionedParams(&options, p.codec).Do(ctx).Into(list); err != nil {
			return p.refused("list "+resource, "list", resource, err)
		}
		take()
		if options.Continue = list.(metav1.ListInterface).GetContinue(); options.Continue == "" {
			return nil
		}
	}
}

// refused adds the way out to an error of the API server.
func (p *prober) refused(did, verb, resource string, err error) error {
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s: %w; it needs the verb %s on %s", did, err, verb, resource)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%s: %w; check the user of the kubeconfig", did, err)
	case apierrors.ReasonForError(err) == metav1.StatusReasonUnknown && !apierrors.IsUnexpectedServerError(err):
		return fmt.Errorf("%s: %w; check --kubeconfig and --context", did, err)
	}
	return fmt.Errorf("%s: %w", did, err)
}

// probe reads one pod and judges it.
func (p *prober) probe(ctx context.Context, pod *corev1.Pod, services []corev1.Service) *probeReport {
	r := newProbeReport()
	place := probePlace{Namespace: pod.Namespace, Pod: pod.Name}
	skip := func(reason string) *probeReport {
		r.Skipped = append(r.Skipped, probeNote{place, "not read: " + reason})
		return r
	}
	switch {
	case pod.DeletionTimestamp != nil:
		return skip("it is being deleted")
	case pod.Status.Phase != corev1.PodRunning:
		return skip("it does not run, it is " + string(cmp.Or(pod.Status.Phase, corev1.PodUnknown)))
	case pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows:
		return skip("it runs on Windows")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("no answer in %v; raise --timeout", p.timeout))
	defer cancel()
	t := probeTarget{probePlace: place, HostNetwork: pod.Spec.HostNetwork}
	n, err := p.read(ctx, pod, &t)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			err = cmp.Or(context.Cause(ctx), err)
		}
		r.Errors = append(r.Errors, probeNote{place, "not read: " + oneLine(err)})
		return r
	}
	t.IPv6, t.Ports = n.HasIPv6(), portsOf(n)
	_, stopped := containersOf(pod)
	r.Targets = append(r.Targets, t)
	r.Findings, r.Errors = judge(&t, n, podUses(pod, services, p.assumeIPv6), stopped)
	return r
}

// maxError is how much of an error of others is shown, in bytes.
const maxError = 400

func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + "…"
	}
	return text
}

// containersOf names the containers that run, those of the pod first, then sidecars and ephemeral ones; and those which should run
// and do not.
func containersOf(pod *corev1.Pod) (running, stopped []string) {
	runs := map[string]bool{}
	for _, s := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses) {
		runs[s.Name] = s.State.Running != nil
	}
	for _, c := range longRunning(pod) {
		if runs[c.Name] {
			running = append(running, c.Name)
		} else {
			stopped = append(stopped, c.Name)
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if runs[c.Name] {
			running = append(running, c.Name)
		}
	}
	return running, stopped
}

// read reads the socket tables of a pod in the first container that can: all share one network namespace.
func (p *prober) read(ctx context.Context, pod *corev1.Pod, t *probeTarget) (*sockets.Namespace, error) {
	running, _ := containersOf(pod)
	err := errors.New("none of its containers runs")
	noCat := true
	for i, container := range running {
		n, e := p.exec(ctx, pod, container)
		if e == nil {
			t.Container = container
			return n, nil
		}
		if i == 0 || !missing(e) {
			err = e
		}
		noCat = noCat && missing(e)
		if ctx.Err() != nil || forbidden(e) {
			break
		}
	}
	switch {
	case p.ephemeral != "" && ctx.Err() == nil:
		return p.readEphemeral(ctx, pod, t)
	case len(running) > 0 && noCat:
		return nil, fmt.Errorf("no cat in %s; use --ephemeral IMAGE", strings.Join(running, ", "))
	}
	return nil, err
}

// forbidden reports whether the rights are missing; the error of an upgrade to SPDY is nothing but text.
func forbidden(err error) bool {
	return apierrors.IsForbidden(err) || strings.Contains(err.Error(), "is forbidden: User ")
}

// missing reports whether a container has no such program, in the words of the runtimes: runc, crun, youki, runsc; or by the exit
// codes of a shell, which some of them use.
func missing(err error) bool {
	var exit utilexec.CodeExitError
	if errors.As(err, &exit) && (exit.Code == 126 || exit.Code == 127 || exit.Code == 128) {
		return true
	}
	return strings.Contains(err.Error(), "executable file not found") || strings.Contains(err.Error(), "no such file or directory") ||
		strings.Contains(err.Error(), "executable file `cat` not found")
}

// exec runs cat in a container: by WebSocket as kubectl does, by SPDY where something on the way knows no WebSocket.
func (p *prober) exec(ctx context.Context, pod *corev1.Pod, container string) (*sockets.Namespace, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	url := p.client.Get().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: catTables(), Stdout: true, Stderr: true}, p.codec).URL()
	spdy, err := remotecommand.NewSPDYExecutor(p.config, "POST", url)
	if err != nil {
		return nil, err
	}
	websocket, err := remotecommand.NewWebSocketExecutor(p.config, "GET", url.String())
	if err != nil {
		return nil, err
	}
	executor, err := remotecommand.NewFallbackExecutor(websocket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, err
	}
	out, in := io.Pipe()
	ended := make(chan error, 1)
	var stderr head
	go func() {
		err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: in, Stderr: &stderr})
		ended <- err
		var exit utilexec.CodeExitError
		if errors.As(err, &exit) && exit.Code == 1 {
			err = nil // cat has printed what there is: without IPv6 in the kernel two of the files are missing
		}
		in.CloseWithError(err)
	}()
	n, err := sockets.Read(out)
	if err == nil {
		return n, nil
	}
	select {
	case e := <-ended:
		err = cmp.Or(e, err)
	default: // it was too much, and there is more
		cancel()
		out.CloseWithError(err)
		<-ended
	}
	if forbidden(err) {
		return nil, fmt.Errorf("exec in container %s: %w; it needs the verb create on pods/exec", container, err)
	}
	if said := strings.TrimSpace(string(stderr.text)); said != "" {
		return nil, fmt.Errorf("exec in container %s: %w: %s", container, err, said)
	}
	return nil, fmt.Errorf("exec in container %s: %w", container, err)
}

// A head keeps the beginning of what is written.
type head struct{ text []byte }

func (h *head) Write(p []byte) (int, error) {
	h.text = append(h.text, p[:min(len(p), maxError-len(h.text))]...)
	return len(p), nil
}

// readEphemeral adds a container to the pod that prints the tables, and reads its log. It needs no rights in the pod and fits the
// restricted Pod Security Standard.
func (p *prober) readEphemeral(ctx context.Context, pod *corev1.Pod, t *probeTarget) (*sockets.Namespace, error) {
	name := "sixgate-probe-" + rand.String(5)
	container := corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name: name, Image: p.ephemeral, Command: catTables(), ImagePullPolicy: corev1.PullIfNotPresent,
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false), RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To(int64(65532)),
			Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"ephemeralContainers": []any{container}}})
	if err != nil {
		return nil, err
	}
	pods := func(r *rest.Request, sub ...string) *rest.Request {
		return r.Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource(sub...)
	}
	if err := pods(p.client.Patch(types.StrategicMergePatchType), "ephemeralcontainers").Body(patch).Do(ctx).Error(); err != nil {
		return nil, p.refused("add ephemeral container", "patch", "pods/ephemeralcontainers", err)
	}
	t.Container, t.Ephemeral = name, true
	p.mu.Lock()
	fmt.Fprint(p.notes, report.Printable(fmt.Sprintf("%s: added the ephemeral container %s (%s); it ends at once and stays in the pod's spec as long as the pod lives",
		t.probePlace.String(), name, p.ephemeral))+"\n")
	p.mu.Unlock()
	for waiting := ""; ; {
		var now corev1.Pod
		if err := pods(p.client.Get()).Do(ctx).Into(&now); err != nil && ctx.Err() == nil {
			return nil, p.refused("get pod", "get", "pods", err)
		}
		i := slices.IndexFunc(now.Status.EphemeralContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == name })
		if i >= 0 {
			state := now.Status.EphemeralContainerStatuses[i].State
			if state.Terminated != nil {
				break
			}
			if state.Waiting != nil {
				waiting = ": " + state.Waiting.Reason
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for ephemeral container %s%s: %w", name, waiting, context.Cause(ctx))
		case <-time.After(500 * time.Millisecond):
		}
	}
	log, err := pods(p.client.Get(), "log").VersionedParams(&corev1.PodLogOptions{Container: name}, p.codec).Stream(ctx)
	if err != nil {
		return nil, p.refused("read log of ephemeral container "+name, "get", "pods/log", err)
	}
	defer log.Close()
	n, err := sockets.Read(log)
	if err != nil {
		return nil, fmt.Errorf("read log of ephemeral container %s: %w", name, err)
	}
	return n, nil
}
