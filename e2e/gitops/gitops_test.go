//go:build e2e

// Package gitops shows what GitOps controllers make of objects that Sixgate's webhook changes: their own code applies and compares
// against a real API server. docs/gitops.md says what comes out.
package gitops

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sixgate/sixgate/e2e/cluster"
)

func TestMain(m *testing.M) {
	os.Exit(cluster.TestMain(m.Run, cluster.Need(cluster.FindFlux), cluster.Need(cluster.FindArgoCD)))
}

// objects are what a repository of manifests has, and the fields that Sixgate changes when it is applied.
var objects = []struct {
	name, kind, manifest string
	changed              []string // by the webhook; none: its Pods are changed
}{
	{"ipv4", "service", `apiVersion: v1
kind: Service
metadata: {name: ipv4, namespace: shop}
spec: {selector: {app: web}, ipFamilies: [IPv4], ports: [{port: 80}]}
`, []string{"/spec/ipFamilies/0"}},
	{"dual", "service", `apiVersion: v1
kind: Service
metadata: {name: dual, namespace: shop}
spec: {selector: {app: web}, ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv4, IPv6], ports: [{port: 80}]}
`, []string{"/spec/ipFamilies/0", "/spec/ipFamilies/1", "/spec/ipFamilyPolicy"}},
	{"fixed", "service", `apiVersion: v1
kind: Service
metadata: {name: fixed, namespace: shop}
spec: {selector: {app: web}, clusterIP: 10.96.0.53, ports: [{port: 53}]}
`, []string{"/spec/clusterIP"}},
	{"web", "deployment", `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: registry.example.net/web, ports: [{containerPort: 80, hostPort: 80, hostIP: 0.0.0.0}]}]}
`, nil},
	{"bare", "pod", `apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: shop}
spec: {containers: [{name: web, image: registry.example.net/web, ports: [{containerPort: 80, hostPort: 80, hostIP: 0.0.0.0}]}]}
`, []string{"/spec/containers/0/ports/0/hostIP"}},
}

// An environment is a cluster with Sixgate.
type environment struct{ *cluster.Cluster }

func start(t *testing.T) *environment {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := cluster.ForTest(t, cluster.Options{})
	if _, err := c.InstallSixgate(ctx, cluster.SixgateOptions{}); err != nil {
		t.Fatal(err)
	}
	e := &environment{c}
	e.must(t, "", "create", "namespace", "shop")
	return e
}

func (e *environment) must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, stderr, code, err := e.Kubectl(t.Context(), stdin, args...)
	if err != nil || code != 0 {
		t.Fatalf("kubectl %s: %v %s", strings.Join(args, " "), err, stderr)
	}
	return out
}

// tool runs a program on a manifest.
func (e *environment) tool(t *testing.T, program, manifest string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"-kubeconfig=" + e.Kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(manifest)
	cmd.Env = append(os.Environ(), "HOME="+e.Dir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v %s", filepath.Base(program), args, err, errs.String())
	}
	return out.String()
}

// version is what a write would change: resourceVersion and generation.
func (e *environment) version(t *testing.T, kind, name string) string {
	t.Helper()
	return e.must(t, "", "get", kind, name, "-n", "shop", "-o", "jsonpath={.metadata.resourceVersion} {.metadata.generation}")
}

// TestFlux: kustomize-controller finds no drift in what the webhook has changed, and applying again writes nothing.
func TestFlux(t *testing.T) {
	e := start(t)
	flux, err := cluster.FindFlux(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	action := func(manifest, verb string) string {
		t.Helper()
		var r struct{ Action string }
		if err := json.Unmarshal([]byte(e.tool(t, flux, manifest, verb)), &r); err != nil {
			t.Fatal(err)
		}
		return r.Action
	}
	for _, o := range objects {
		if got := action(o.manifest, "apply"); got != "created" {
			t.Errorf("%s: first apply: %s", o.name, got)
		}
		if got := action(o.manifest, "diff"); got != "unchanged" {
			t.Errorf("%s: diff: %s", o.name, got)
		}
		before := e.version(t, o.kind, o.name)
		for range 3 {
			if got := action(o.manifest, "apply"); got != "unchanged" {
				t.Errorf("%s: applied again: %s", o.name, got)
			}
		}
		if now := e.version(t, o.kind, o.name); now != before {
			t.Errorf("%s: applying again has written: %s, before %s", o.name, now, before)
		}
	}
}

// TestKubectlDiff: kubectl diff asks the webhook too, by a dry run at the server.
func TestKubectlDiff(t *testing.T) {
	e := start(t)
	for _, o := range objects {
		for _, flags := range [][]string{{}, {"--server-side"}} {
			e.must(t, o.manifest, append([]string{"apply", "-f", "-"}, flags...)...)
			out, stderr, code, err := e.Kubectl(t.Context(), o.manifest, append([]string{"diff", "-f", "-"}, flags...)...)
			if err != nil || code != 0 {
				t.Errorf("%s %v: %v %s %s", o.name, flags, err, out, stderr)
			}
			e.must(t, "", "delete", o.kind, o.name, "-n", "shop", "--now")
		}
	}
}
