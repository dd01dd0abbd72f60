//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// An auditReport is what the test reads of docs/audit-json.md.
type auditReport struct {
	Findings []struct{ Kind, Namespace, Name, Rule, Level, Path, Message, File string }
	Objects  []struct{ Kind, Namespace, Name, Outcome string }
	Errors   []struct{ File, Message string }
	Summary  struct{ Objects, Audited, ExitCode int }
}

// sixgate runs the command line on a cluster and returns what it said, its exit code and the most memory that it had, in bytes.
func sixgate(t *testing.T, kubeconfig string, args ...string) (stdout, stderr string, code int, memory int64) {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(root, "bin", "sixgate"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	usage, _ := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return out.String(), errs.String(), cmd.ProcessState.ExitCode(), usage.Maxrss << 10
}

func auditJSON(t *testing.T, kubeconfig string, args ...string) (auditReport, string, int64) {
	t.Helper()
	out, stderr, code, memory := sixgate(t, kubeconfig, append([]string{"audit", "--cluster", "-o", "json"}, args...)...)
	var r auditReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s %s", err, out, stderr)
	}
	if r.Summary.ExitCode != code {
		t.Errorf("exit code %d, in the report %d", code, r.Summary.ExitCode)
	}
	return r, stderr, memory
}

// auditOnTerminal also returns what a terminal shows of standard error.
func auditOnTerminal(t *testing.T, kubeconfig string, args ...string) (r auditReport, terminal string) {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.json")
	line := fmt.Sprintf("'%s' audit --cluster -o json %s >'%s'", filepath.Join(root, "bin", "sixgate"), strings.Join(args, " "), file)
	cmd := exec.CommandContext(t.Context(), "script", "-qec", line, "/dev/null") // of util-linux: it makes a terminal
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "TERM=xterm")
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r, string(out)
}

// found are the findings of one rule by object; the names begin with a prefix.
func (r *auditReport) found(rule, prefix string) map[string]int {
	out := map[string]int{}
	for _, f := range r.Findings {
		if f.Rule == rule && strings.HasPrefix(f.Name, prefix) {
			out[f.Namespace+"/"+f.Name]++
		}
	}
	return out
}

// A filler creates objects fast.
type filler struct {
	client *http.Client
	url    string
}

func newFiller(t *testing.T, c *cluster.Cluster) *filler {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return &filler{client, c.URL}
}

func (f *filler) do(method, path, body string) error {
	for range 5 {
		req, err := http.NewRequest(method, f.url+path, strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := f.client.Do(req)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch {
		case err != nil:
			return err
		case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
			time.Sleep(time.Second)
		case resp.StatusCode >= 300:
			return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, text)
		default:
			return nil
		}
	}
	return fmt.Errorf("%s %s: the API server is busy", method, path)
}

// nginxIPv4 is a ConfigMap with a fault, or without.
func nginxConfigMap(name string, fault bool) string {
	listen := "listen [::]:80;"
	if fault {
		listen = "listen 80;"
	}
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q},"data":{"default.conf":"server {\n  %s\n}\n"}}`, name, listen)
}

// fill creates n objects, a third each of ConfigMaps, Services and Pods, in 20 namespaces; every tenth ConfigMap and Pod has a fault.
// It returns the faulty ones.
func (f *filler) fill(t *testing.T, n int) (configMaps, pods map[string]int) {
	t.Helper()
	const namespaces = 20
	configMaps, pods = map[string]int{}, map[string]int{}
	for i := range namespaces {
		if err := f.do("POST", "/api/v1/namespaces", fmt.Sprintf(`{"metadata":{"name":"team-%02d"}}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	var g errgroup.Group
	g.SetLimit(20)
	for i := range n / 3 {
		ns, name, fault := fmt.Sprintf("team-%02d", i%namespaces), fmt.Sprintf("app-%05d", i), i%10 == 0
		hostPort := fmt.Sprintf(`"hostPort":%d`, 1000+i)
		if fault {
			configMaps[ns+"/"+name], pods[ns+"/"+name] = 1, 1
			hostPort += `,"hostIP":"0.0.0.0"`
		}
		g.Go(func() error {
			at := "/api/v1/namespaces/" + ns
			return errors.Join(
				f.do("POST", at+"/configmaps", nginxConfigMap(name, fault)),
				f.do("POST", at+"/services", fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"selector":{"app.kubernetes.io/name":"web","app.kubernetes.io/instance":%[1]q},"ports":[{"port":80,"targetPort":"http"}]}}`, name)),
				f.do("POST", at+"/pods", fmt.Sprintf(`{"metadata":{"name":%q,"labels":{"app.kubernetes.io/name":"web","app.kubernetes.io/instance":%[1]q}},
					"spec":{"containers":[{"name":"a","image":"registry.example/a:1","ports":[{"name":"http","containerPort":80,%s}]}],"volumes":[{"name":"a","configMap":{"name":%[1]q}}]}}`, name, hostPort)))
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return configMaps, pods
}

// as is a kubeconfig whose user acts as another one.
func as(t *testing.T, c *cluster.Cluster, user string) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range config.AuthInfos {
		u.Impersonate = user
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestAuditCluster audits a cluster with many objects: all of them, with the rights of config/audit and nothing more, in little memory,
// and while objects change, continue tokens expire and answers are cut. SIXGATE_AUDIT_OBJECTS sets how many there are.
func TestAuditCluster(t *testing.T) {
	objects := 2000
	if text := os.Getenv("SIXGATE_AUDIT_OBJECTS"); text != "" {
		var err error
		if objects, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	in, err := start(cluster.Options{ExtraAPIServerArgs: []string{"--etcd-compaction-interval=1s", "--max-mutating-requests-inflight=1000"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	f := newFiller(t, in.Cluster)
	begin := time.Now()
	configMaps, pods := f.fill(t, objects)
	t.Logf("%d objects created in %v", objects, time.Since(begin).Round(time.Second))
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	in.must(t, "", "apply", "-f", filepath.Join(root, "config/audit/clusterrole.yaml"))
	in.must(t, "", "create", "clusterrolebinding", "audit", "--clusterrole=sixgate-audit", "--user=auditor")
	auditor := as(t, in.Cluster, "auditor")
	complete := func(t *testing.T, r auditReport) {
		t.Helper()
		if got := r.found("listen-nginx", "app-"); !maps.Equal(got, configMaps) {
			t.Errorf("%d ConfigMaps with findings, want %d, each once", len(got), len(configMaps))
		}
		if got := r.found("host-port-ipv4", "app-"); !maps.Equal(got, pods) {
			t.Errorf("%d Pods with findings, want %d, each once", len(got), len(pods))
		}
		if len(r.Errors) > 0 {
			t.Errorf("errors: %v", r.Errors)
		}
	}

	t.Run("least rights", func(t *testing.T) {
		begin := time.Now()
		r, stderr, memory := auditJSON(t, auditor)
		complete(t, r)
		t.Logf("%d objects in %v with %d MiB at most", r.Summary.Audited, time.Since(begin).Round(time.Millisecond), memory>>20)
		if stderr != "" {
			t.Errorf("standard error: %s", stderr)
		}
		// A Go program with client-go needs 45 MiB for nothing.
		if limit := int64(80<<20 + 4000*objects); memory > limit {
			t.Errorf("%d bytes of memory, want at most %d", memory, limit)
		}
		if i := slices.IndexFunc(r.Findings, func(f struct{ Kind, Namespace, Name, Rule, Level, Path, Message, File string }) bool {
			return f.Kind == "Pod"
		}); i >= 0 {
			if f := r.Findings[i]; f.File != f.Namespace+"/Pod/"+f.Name || f.Path != "spec.containers[0].ports[0].hostIP" {
				t.Errorf("%+v", f)
			}
		}
	})

	t.Run("reports", func(t *testing.T) {
		api := reportAPIs(t)[0]
		api.define(t, in)
		reporter := in.reporter(t, "reporter", "sixgate-audit-reports")
		in.must(t, "", "create", "clusterrolebinding", "reporter", "--clusterrole=sixgate-audit", "--user=reporter")
		for _, want := range []string{
			fmt.Sprintf(": %d written, 0 deleted, 0 unchanged", len(configMaps)+len(pods)),
			fmt.Sprintf(": 0 written, 0 deleted, %d unchanged", len(configMaps)+len(pods)),
		} {
			before, begin := in.requests(t), time.Now()
			out, stderr, code, memory := sixgate(t, reporter, "audit", "--cluster", "--write-reports", "--fail-on=none")
			if code != 0 || !strings.Contains(stderr, want) {
				t.Fatalf("%q is not in %q; exit code %d", want, stderr, code)
			}
			took, after := time.Since(begin).Round(time.Millisecond), in.requests(t)
			t.Logf("%s%s in %v with %d MiB at most; requests: %d lists, %d patches", out, stderr, took, memory>>20, after["LIST"]-before["LIST"], after["PATCH"]-before["PATCH"]+after["APPLY"]-before["APPLY"])
			if limit := int64(80<<20 + 4000*objects); memory > limit {
				t.Errorf("%d bytes of memory, want at most %d", memory, limit)
			}
		}
		if got := len(api.reports(t, in)); got != len(configMaps)+len(pods) {
			t.Errorf("%d reports", got)
		}
	})

	t.Run("changes", func(t *testing.T) {
		p := newProxy(t, f)
		r, terminal := auditOnTerminal(t, p.kubeconfig(t, in.Cluster), "--page-size", strconv.Itoa(max(objects/60, 10)))
		complete(t, r)
		for _, want := range []string{"configmaps", "%", "["} { // the bar, with the time that is left
			contains(t, terminal, want)
		}
		t.Logf("%d pages, %d expired tokens, %d cut answers, %d objects came and went", p.pages.Load(), p.expired.Load(), p.cut.Load(), p.changed.Load())
		if p.expired.Load() == 0 || p.cut.Load() == 0 || p.changed.Load() == 0 {
			t.Error("the test did not expire tokens, cut answers and change objects")
		}
	})

	t.Run("rights", func(t *testing.T) {
		in.must(t, "", "create", "rolebinding", "audit", "-n", "team-03", "--clusterrole=sixgate-audit", "--user=one-team")
		one := as(t, in.Cluster, "one-team")
		r, _, _ := auditJSON(t, one, "-n", "team-03")
		if len(r.Errors) > 0 || r.Summary.Audited == 0 {
			t.Errorf("%d audited, errors %v", r.Summary.Audited, r.Errors)
		}
		for _, o := range r.Objects {
			if o.Namespace != "team-03" {
				t.Fatalf("%+v is of another namespace", o)
			}
		}
		in.must(t, "", "create", "clusterrole", "pods-only", "--verb=list", "--resource=pods")
		in.must(t, "", "create", "clusterrolebinding", "pods-only", "--clusterrole=pods-only", "--user=pods-only")
		out, stderr, code, _ := sixgate(t, as(t, in.Cluster, "pods-only"), "audit", "--cluster")
		if code != 3 {
			t.Errorf("exit code %d, want 3", code)
		}
		contains(t, stderr, `sixgate: read configmaps: configmaps is forbidden: User "pods-only" cannot list resource "configmaps" in API group "" at the cluster scope; it needs the verb list on configmaps`+"\n")
		if n := strings.Count(stderr, "sixgate: read configmaps: "); n != 1 {
			t.Errorf("%d lines on configmaps", n)
		}
		contains(t, out, `Pod/app-00000 -n team-00: deny: spec.containers[0].ports[0].hostIP: "0.0.0.0" publishes on IPv4 only, port 1000 is unreachable; remove hostIP [host-port-ipv4] (the webhook repairs this when it is created again)`+"\n")
	})
}

// requests are those that the API server has counted, by verb.
func (in *installation) requests(t *testing.T) map[string]int {
	t.Helper()
	out := map[string]int{}
	for line := range strings.Lines(in.must(t, "", "get", "--raw", "/metrics").out) {
		labels, ok := strings.CutPrefix(line, "apiserver_request_total{")
		if !ok {
			continue
		}
		_, verb, _ := strings.Cut(labels, `verb="`)
		verb, _, _ = strings.Cut(verb, `"`)
		n, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]), 64)
		if err != nil {
			t.Fatal(err)
		}
		out[verb] += int(n)
	}
	return out
}

// TestAuditCustomResources: kinds in another version than the rules name, and one kind that two groups serve.
func TestAuditCustomResources(t *testing.T) {
	in, err := start(cluster.Options{}, false)
	if err != nil {
		t.Fatal(err)
	}
	define := func(group, version, resource, kind string) {
		t.Helper()
		text := fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[3]s.%[1]s, annotations: {api-approved.kubernetes.io: "unapproved, for a test"}}
spec:
  group: %[1]s
  scope: Namespaced
  names: {plural: %[3]s, kind: %[4]s}
  versions: [{name: %[2]s, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`, group, version, resource, kind)
		in.must(t, text, "apply", "-f", "-")
		in.must(t, "", "wait", "--for=condition=Established", "--timeout=60s", "crd", resource+"."+group)
	}
	const gateway = "{apiVersion: gateway.networking.k8s.io/v1beta1, kind: Gateway, metadata: {name: a, namespace: default}, spec: {addresses: [{value: 192.0.2.1}]}}"
	const policy = "{apiVersion: %s, kind: NetworkPolicy, metadata: {name: a, namespace: default}, spec: {selector: all(), ingress: [{action: Allow, protocol: TCP, source: {nets: [192.0.2.0/24]}}]}}"
	define("gateway.networking.k8s.io", "v1beta1", "gateways", "Gateway")
	define("crd.projectcalico.org", "v1", "networkpolicies", "NetworkPolicy")
	in.must(t, gateway, "apply", "-f", "-")
	in.must(t, fmt.Sprintf(policy, "crd.projectcalico.org/v1"), "apply", "-f", "-")
	want := func(what string) {
		t.Helper()
		eventually(t, func() error {
			r, _, _ := auditJSON(t, in.Kubeconfig)
			var got []string
			for _, f := range r.Findings {
				got = append(got, f.File)
			}
			if slices.Sort(got); !slices.Equal(got, []string{"default/Gateway/a", "default/NetworkPolicy/a"}) || len(r.Errors) > 0 {
				return fmt.Errorf("%s: %q %v", what, got, r.Errors)
			}
			return nil
		})
	}
	want("Calico's own group")
	define("projectcalico.org", "v3", "networkpolicies", "NetworkPolicy") // as Calico's API server, which serves the objects of the other
	in.must(t, fmt.Sprintf(policy, "projectcalico.org/v3"), "apply", "-f", "-")
	want("both groups of Calico")
}

// A proxy stands before the API server and makes a long list as bad as it can be: between the pages objects come and go, some answers
// end in the middle, and one page of each kind is asked for so late that its token has expired.
type proxy struct {
	f *filler
	*httptest.Server
	mu                           sync.Mutex
	pagesOf                      map[string]int
	pages, expired, cut, changed atomic.Int64
}

func newProxy(t *testing.T, f *filler) *proxy {
	t.Helper()
	to, err := url.Parse(f.url)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{f: f, pagesOf: map[string]int{}}
	reverse := httputil.NewSingleHostReverseProxy(to)
	reverse.Transport = f.client.Transport
	reverse.FlushInterval = -1
	reverse.ErrorLog = nil
	reverse.ModifyResponse = func(r *http.Response) error {
		if r.StatusCode == http.StatusGone {
			p.expired.Add(1)
		}
		return nil
	}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !r.URL.Query().Has("limit") {
			reverse.ServeHTTP(w, r)
			return
		}
		p.pages.Add(1)
		p.mu.Lock()
		p.pagesOf[r.URL.Path]++
		page := p.pagesOf[r.URL.Path]
		p.mu.Unlock()
		if err := p.change(r.URL.Path, page); err != nil {
			t.Error(err)
		}
		if page == 4 && r.URL.Query().Has("continue") {
			p.expire(t, r.URL)
		}
		if page%5 == 2 {
			w = &cutWriter{ResponseWriter: w, left: 4000, cut: &p.cut}
		}
		r.Header.Del("Accept-Encoding") // else a page is cut in what is compressed
		reverse.ServeHTTP(w, r)
	}))
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	p.Server.Listener.Close()
	p.Server.Listener = listener
	p.Server.Config.ErrorLog = nil
	p.Start()
	t.Cleanup(p.Close)
	return p
}

// change creates an object that comes first and one that comes last, and deletes them two pages later.
func (p *proxy) change(path string, page int) error {
	if path != "/api/v1/configmaps" {
		return nil
	}
	for _, ns := range []string{"team-00", "team-19"} {
		p.changed.Add(1)
		at := "/api/v1/namespaces/" + ns + "/configmaps"
		if err := p.f.do("POST", at, nginxConfigMap(fmt.Sprintf("new-%d", page), true)); err != nil {
			return err
		}
		if page > 2 {
			if err := p.f.do("DELETE", fmt.Sprintf("%s/new-%d", at, page-2), ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// expire waits until the API server has compacted what it has stored: until it refuses the token of the page, or for a while.
func (p *proxy) expire(t *testing.T, page *url.URL) {
	for i := range 100 {
		resp, err := p.f.client.Get(p.f.url + page.RequestURI())
		if err != nil {
			t.Error(err)
			return
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusGone {
			return
		}
		// Compaction needs something to compact.
		_ = p.f.do("PATCH", "/api/v1/namespaces/default", fmt.Sprintf(`{"metadata": {"annotations": {"round": "%d"}}}`, i))
		time.Sleep(200 * time.Millisecond)
	}
}

// kubeconfig leads to the proxy.
func (p *proxy) kubeconfig(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range config.Clusters {
		c.Server, c.CertificateAuthorityData = p.URL, nil
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// A cutWriter ends the connection after some bytes.
type cutWriter struct {
	http.ResponseWriter
	left int
	cut  *atomic.Int64
}

func (w *cutWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		w.cut.Add(1)
		panic(http.ErrAbortHandler)
	}
	return w.ResponseWriter.Write(b)
}

func (w *cutWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
