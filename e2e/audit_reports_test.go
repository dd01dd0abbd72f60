//go:build e2e

package e2e

import (
	"encoding/json"
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
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// A reportAPI is one of the two APIs, with its CustomResourceDefinitions.
type reportAPI struct{ group, resource, crds string }

func reportAPIs(t *testing.T) []reportAPI {
	t.Helper()
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/openreports/reports-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	return []reportAPI{
		{"openreports.io", "reports", filepath.Join(strings.TrimSpace(string(module)), "config", "crd")},
		{"wgpolicyk8s.io", "policyreports", filepath.Join("testdata", "crd")},
	}
}

func (a reportAPI) define(t *testing.T, in *installation) {
	t.Helper()
	crds, err := filepath.Glob(filepath.Join(a.crds, "*.yaml"))
	if err != nil || len(crds) != 2 {
		t.Fatalf("definitions: %v %v", crds, err)
	}
	for _, crd := range crds {
		text, err := os.ReadFile(crd)
		if err != nil {
			t.Fatal(err)
		}
		in.must(t, string(text), "apply", "-f", "-")
	}
	in.must(t, "", "wait", "--for=condition=Established", "--timeout=2m", "crd", a.resource+"."+a.group, "cluster"+a.resource+"."+a.group)
	eventually(t, func() error { // discovery lags behind
		r := in.run(t, "", "get", a.resource+"."+a.group+",cluster"+a.resource+"."+a.group, "-A")
		if r.code != 0 {
			return fmt.Errorf("%s", r.err)
		}
		return nil
	})
}

// A stored report on one object.
type objectReport struct {
	Kind     string
	Metadata struct {
		Name, Namespace, UID, ResourceVersion string
		OwnerReferences                       []struct{ APIVersion, Kind, Name, UID string }
		ManagedFields                         []struct{ Manager string }
	}
	Scope   struct{ Kind, Name, Namespace, UID string }
	Summary struct{ Fail, Warn, Skip int }
	Results []struct{ Rule, Result, Message string }
}

// reports are those of our label by namespace, kind and name of what they are about. One object with two reports is an error.
func (a reportAPI) reports(t *testing.T, in *installation) map[string]objectReport {
	t.Helper()
	out := map[string]objectReport{}
	for _, resource := range []string{a.resource, "cluster" + a.resource} {
		var list struct{ Items []objectReport }
		if err := json.Unmarshal([]byte(in.must(t, "", "get", resource+"."+a.group, "-A", "-l", "sixgate.io/report=object", "-o", "json").out), &list); err != nil {
			t.Fatal(err)
		}
		for _, r := range list.Items {
			key := r.Scope.Namespace + "/" + r.Scope.Kind + "/" + r.Scope.Name
			if _, twice := out[key]; twice {
				t.Errorf("two reports on %s", key)
			}
			out[key] = r
		}
	}
	return out
}

func versions(reports map[string]objectReport) map[string]string {
	out := map[string]string{}
	for key, r := range reports {
		out[key] = r.Metadata.ResourceVersion
	}
	return out
}

// reporter is a user with exactly the rights of config/audit.
func (in *installation) reporter(t *testing.T, name string, roles ...string) string {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range roles {
		in.must(t, "", "apply", "-f", filepath.Join(root, "config/audit", map[string]string{"sixgate-audit": "clusterrole.yaml", "sixgate-audit-reports": "reports.yaml"}[role]))
		in.must(t, "", "create", "clusterrolebinding", name+"-"+role, "--clusterrole="+role, "--user="+name)
	}
	return as(t, in.Cluster, name)
}

// TestAuditReports writes the reports of an audit into a real API server with the garbage collector of the real controller manager.
func TestAuditReports(t *testing.T) {
	in, err := start(cluster.Options{ControllerManager: true, ExtraAPIServerArgs: []string{"--disable-admission-plugins=ServiceAccount"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := in.reporter(t, "reporter", "sixgate-audit", "sixgate-audit-reports")
	in.controllers = false // no Pod needs its ServiceAccount
	newFiller(t, in.Cluster).fill(t, 300)

	_, stderr, code, _ := sixgate(t, kubeconfig, "audit", "--cluster", "--write-reports")
	if want := "sixgate: write reports: the cluster has no reports.openreports.io and no policyreports.wgpolicyk8s.io; install that CustomResourceDefinition, or leave out --write-reports and use -o\n"; stderr != want || code != 3 {
		t.Errorf("without definitions: %d %q", code, stderr)
	}
	for _, api := range slices.Backward(reportAPIs(t)) { // the older one first, so that auto finds each
		api.define(t, in)
		t.Run(api.group, func(t *testing.T) { in.testReports(t, api, kubeconfig) })
	}
	t.Run("the other API", func(t *testing.T) {
		apis := reportAPIs(t)
		if n := len(apis[1].reports(t, in)); n != 0 {
			t.Errorf("%d reports are left in %s", n, apis[1].group)
		}
		in.runAudit(t, kubeconfig, "reports of wgpolicyk8s.io: ", "--write-reports=policyreport")
		if a, b := len(apis[0].reports(t, in)), len(apis[1].reports(t, in)); a != 0 || b == 0 {
			t.Errorf("%d reports of the newer API, %d of the older", a, b)
		}
		if _, stderr, _, _ := sixgate(t, kubeconfig, "audit", "--cluster", "-n", "team-10", "--write-reports=policyreport", "--fail-on=none"); !strings.Contains(stderr, ": 0 written, 0 deleted, 10 unchanged") {
			t.Errorf("one namespace: %s", stderr)
		}
	})
}

// runAudit runs what the CronJob runs, and returns the line on what was written.
func (in *installation) runAudit(t *testing.T, kubeconfig, want string, args ...string) string {
	t.Helper()
	if len(args) == 0 {
		args = []string{"--write-reports"}
	}
	out, stderr, code, _ := sixgate(t, kubeconfig, append([]string{"audit", "--cluster", "--fail-on=none"}, args...)...)
	if code != 0 || !strings.Contains(stderr, want) {
		t.Fatalf("%q is not in %q; exit code %d", want, stderr, code)
	}
	if strings.Count(out, "\n") != 1 || !strings.Contains(out, " objects audited: ") {
		t.Errorf("standard output: %q", out)
	}
	return stderr
}

func (in *installation) testReports(t *testing.T, api reportAPI, kubeconfig string) {
	in.must(t, nginxConfigMap("mended", true), "apply", "-n", "team-00", "-f", "-")
	in.must(t, nginxConfigMap("deleted", true), "apply", "-n", "team-00", "-f", "-")
	in.must(t, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"empty-reason","annotations":{"sixgate.io/ignore.listen-nginx":""}}}`, "apply", "-f", "-")
	in.must(t, nginxConfigMap("excepted", true), "apply", "-n", "empty-reason", "-f", "-")
	in.must(t, "", "annotate", "configmap/excepted", "-n", "empty-reason", "sixgate.io/ignore.listen-nginx=a test", "--overwrite")
	in.must(t, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"nginx"},"stringData":{"nginx.conf":"server {\n  listen 80;\n  set $key hunter2hunter2;\n}\n"}}`, "apply", "-n", "empty-reason", "-f", "-")
	foreign := fmt.Sprintf(`{"apiVersion":"%s/%s","kind":"%s","metadata":{"name":"foreign","namespace":"team-00","labels":{"sixgate.io/report":"object"}},"results":[]}`,
		api.group, map[string]string{"openreports.io": "v1alpha1", "wgpolicyk8s.io": "v1alpha2"}[api.group], map[string]string{"openreports.io": "Report", "wgpolicyk8s.io": "PolicyReport"}[api.group])
	in.must(t, foreign, "apply", "--server-side", "-f", "-")
	t.Cleanup(func() { in.must(t, "", "delete", api.resource+"."+api.group, "foreign", "-n", "team-00") })

	// 10 ConfigMaps and 10 Pods of the filler, and three of our own, and one Namespace, which only has a ClusterReport.
	in.runAudit(t, kubeconfig, "reports of "+api.group+": 24 written, ")
	first := api.reports(t, in)
	delete(first, "//") // the foreign one
	if len(first) != 24 {
		t.Errorf("%d reports: %v", len(first), slices.Sorted(maps.Keys(first)))
	}
	pod, skipped, ns := first["team-00/Pod/app-00000"], first["empty-reason/ConfigMap/excepted"], first["/Namespace/empty-reason"]
	if pod.Summary.Fail != 1 || len(pod.Results) != 1 || pod.Results[0].Rule != "host-port-ipv4" || pod.Results[0].Result != "fail" || !strings.Contains(pod.Results[0].Message, "publishes on IPv4 only") {
		t.Errorf("%+v", pod)
	}
	if uid := in.field(t, ".metadata.uid", "pod/app-00000", "-n", "team-00"); len(pod.Metadata.OwnerReferences) != 1 || pod.Metadata.OwnerReferences[0].UID != uid || pod.Scope.UID != uid || pod.Metadata.Name != "sixgate-"+uid {
		t.Errorf("%+v is not of %s", pod.Metadata, uid)
	}
	if skipped.Summary.Skip != 1 || ns.Summary.Warn != 1 || !strings.HasPrefix(ns.Kind, "Cluster") {
		t.Errorf("skipped: %+v, namespace: %+v", skipped.Summary, ns)
	}

	// What is unchanged is not written.
	in.runAudit(t, kubeconfig, ": 0 written, 0 deleted, 24 unchanged")
	if again := api.reports(t, in); !maps.Equal(versions(first), versions(withoutForeign(again))) {
		t.Error("reports were written again")
	}

	// Somebody has edited a report by hand: it is put right. One object is mended, one is deleted.
	name := pod.Metadata.Name
	in.must(t, "", "patch", api.resource+"."+api.group, name, "-n", "team-00", "--type=merge", "-p", `{"results":[],"summary":{"fail":0}}`)
	in.must(t, nginxConfigMap("mended", false), "apply", "-n", "team-00", "-f", "-")
	in.must(t, "", "delete", "configmap/deleted", "-n", "team-00")
	eventually(t, func() error {
		if r, ok := api.reports(t, in)["team-00/ConfigMap/deleted"]; ok {
			return fmt.Errorf("the garbage collector has left %s", r.Metadata.Name)
		}
		return nil
	})
	in.runAudit(t, kubeconfig, ": 1 written, 1 deleted, 21 unchanged")
	now := api.reports(t, in)
	if _, ok := now["team-00/ConfigMap/mended"]; ok {
		t.Error("the report on what was mended is still there")
	}
	if got := now["team-00/Pod/app-00000"]; got.Summary.Fail != 1 || len(got.Results) != 1 {
		t.Errorf("what was edited: %+v", got)
	}
	if _, ok := now["//"]; !ok {
		t.Error("the report of somebody else was deleted")
	}

	t.Run("secrets", func(t *testing.T) {
		policy := filepath.Join(t.TempDir(), "policy.yaml")
		if err := os.WriteFile(policy, []byte("apiVersion: sixgate.io/v1alpha1\nkind: Policy\nsecrets: true\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		in.runAudit(t, in.Kubeconfig, ": 1 written, ", "--write-reports", "--policy="+policy)
		text := in.must(t, "", "get", api.resource+"."+api.group, "-n", "empty-reason", "-o", "yaml").out
		contains(t, text, "kind: Secret")
		if strings.Contains(text, "hunter2") || strings.Contains(text, "listen 80") {
			t.Errorf("the text of a Secret is in a report:\n%s", text)
		}
		in.runAudit(t, kubeconfig, ": 0 written, 1 deleted, ")
	})

	t.Run("not listed", func(t *testing.T) {
		in.must(t, "", "create", "clusterrole", "pods-only", "--verb=list", "--resource=pods", "--dry-run=client", "-o", "name")
		user := "pods-" + api.resource
		in.must(t, "", "create", "clusterrole", user, "--verb=list", "--resource=pods")
		in.must(t, "", "create", "clusterrolebinding", user, "--clusterrole="+user, "--user="+user)
		partial := in.reporter(t, user, "sixgate-audit-reports")
		_, stderr, code, _ := sixgate(t, partial, "audit", "--cluster", "--write-reports")
		contains(t, stderr, ": 0 written, 0 deleted, 10 unchanged")
		if code != 3 || len(withoutForeign(api.reports(t, in))) != 22 {
			t.Errorf("exit code %d, reports on what could not be listed are gone: %s", code, stderr)
		}
		auditor := in.reporter(t, "auditor-"+api.resource, "sixgate-audit")
		_, stderr, code, _ = sixgate(t, auditor, "audit", "--cluster", "--write-reports")
		if code != 3 || !strings.Contains(stderr, "it needs the verb list on "+api.resource+"."+api.group+"\n") {
			t.Errorf("exit code %d: %s", code, stderr)
		}
	})

	t.Run("killed", func(t *testing.T) {
		in.must(t, "", "delete", api.resource+"."+api.group, "-A", "-l", "sixgate.io/report=object", "--field-selector=metadata.name!=foreign")
		p := in.writeProxy(t)
		p.stopAt.Store(8)
		root, err := cluster.Root()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), filepath.Join(root, "bin", "sixgate"), "audit", "--cluster", "--write-reports")
		cmd.Env = append(os.Environ(), "KUBECONFIG="+p.kubeconfig(t, in.Cluster))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-p.stopped
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		p.stopAt.Store(-1)
		close(p.release)
		if n := len(withoutForeign(api.reports(t, in))); n == 0 || n >= 21 {
			t.Fatalf("%d reports were written before the kill", n)
		}
		// The next run meets an API server that is busy, now and then.
		p.busy.Store(5)
		p.busyLists.Store(3)
		in.runAudit(t, p.kubeconfig(t, in.Cluster), " written, 0 deleted, ")
		if left := p.busy.Load() + p.busyLists.Load(); left > 0 || p.early.Load() > 0 {
			t.Errorf("%d answers 429 not given, %d requests came before the time that Retry-After said", left, p.early.Load())
		}
		if got := withoutForeign(api.reports(t, in)); len(got) != 22 {
			t.Errorf("%d reports after the second run: %v", len(got), slices.Sorted(maps.Keys(got)))
		}
		in.runAudit(t, kubeconfig, ": 0 written, 0 deleted, 22 unchanged")
	})

	t.Run("refused", func(t *testing.T) {
		deny := fmt.Sprintf(`{"apiVersion":"v1","kind":"List","items":[
			{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicy","metadata":{"name":"no-reports"},"spec":{
				"matchConstraints":{"resourceRules":[{"apiGroups":[%q],"apiVersions":["*"],"operations":["CREATE"],"resources":["*"]}]},
				"validations":[{"expression":"request.namespace != 'team-10'","message":"no reports here"}]}},
			{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicyBinding","metadata":{"name":"no-reports"},"spec":{"policyName":"no-reports","validationActions":["Deny"]}}]}`, api.group)
		in.must(t, deny, "apply", "-f", "-")
		eventually(t, func() error {
			if r := in.run(t, strings.Replace(foreign, "team-00", "team-10", 1), "create", "--dry-run=server", "-f", "-"); !strings.Contains(r.err, "no reports here") {
				return fmt.Errorf("the policy is not in force: %s", r.err)
			}
			return nil
		})
		in.must(t, "", "delete", api.resource+"."+api.group, "-n", "team-10", "-l", "sixgate.io/report=object")
		_, stderr, code, _ := sixgate(t, kubeconfig, "audit", "--cluster", "--write-reports", "--fail-on=none")
		contains(t, stderr, ": 0 written, 0 deleted, 12 unchanged\nsixgate: write reports: 10 could not be written, the first: patch "+api.resource+"."+api.group+": ")
		if code != 3 {
			t.Errorf("exit code %d", code)
		}
		in.must(t, deny, "delete", "-f", "-")
		eventually(t, func() error {
			_, stderr, code, _ := sixgate(t, kubeconfig, "audit", "--cluster", "--write-reports", "--fail-on=none")
			if code != 0 {
				return fmt.Errorf("exit code %d: %s", code, stderr)
			}
			return nil
		})
	})

	in.must(t, "", "delete", "namespace/empty-reason")
	eventually(t, func() error {
		for _, key := range []string{"/Namespace/empty-reason", "empty-reason/ConfigMap/excepted"} {
			if _, ok := api.reports(t, in)[key]; ok {
				return fmt.Errorf("the report on %s is still there", key)
			}
		}
		return nil
	})
}

func withoutForeign(reports map[string]objectReport) map[string]objectReport {
	delete(reports, "//")
	return reports
}

// A writeProxy stands before the API server: it holds a write, or answers 429.
type writeProxy struct {
	proxy
	stopAt, writes, requests, early atomic.Int64
	busy, busyLists                 atomic.Int64 // answers 429 to give
	until                           atomic.Int64 // before which nothing should come
	stopped, release                chan struct{}
}

func (in *installation) writeProxy(t *testing.T) *writeProxy {
	t.Helper()
	f := newFiller(t, in.Cluster)
	to, err := url.Parse(f.url)
	if err != nil {
		t.Fatal(err)
	}
	p := &writeProxy{stopped: make(chan struct{}), release: make(chan struct{})}
	p.stopAt.Store(-1)
	reverse := httputil.NewSingleHostReverseProxy(to)
	reverse.Transport, reverse.FlushInterval = f.client.Transport, -1
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		busy := &p.busyLists
		switch {
		case r.Method == http.MethodPatch:
			busy = &p.busy
		case !r.URL.Query().Has("limit"):
			reverse.ServeHTTP(w, r)
			return
		}
		if time.Now().UnixMilli() < p.until.Load() {
			p.early.Add(1)
		}
		if r.Method == http.MethodPatch && p.writes.Add(1) == p.stopAt.Load() {
			close(p.stopped)
			<-p.release
			return
		}
		if p.requests.Add(1)%2 == 0 && busy.Load() > 0 {
			busy.Add(-1)
			p.until.Store(time.Now().UnixMilli() + 990)
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, "busy")
			return
		}
		reverse.ServeHTTP(w, r)
	}))
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	p.Server = server
	return p
}
