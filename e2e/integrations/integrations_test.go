//go:build e2e

// Package integrations runs Sixgate inside real Helm, kustomize and kpt, against a real API server with IPv6 only and no webhook.
package integrations

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/e2e/cluster"
)

func TestMain(m *testing.M) {
	os.Exit(cluster.TestMain(func() int {
		code := m.Run()
		if c, err := ipv6Only(); err == nil {
			if err := c.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
		return code
	}, cluster.Need(cluster.FindTools)))
}

var ipv6Only = sync.OnceValues(func() (*cluster.Cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return cluster.Start(ctx, cluster.Options{})
})

// A shell runs programs as a person would: with Sixgate on PATH, a home of its own, and the cluster as context.
type shell struct {
	*cluster.Cluster
	cluster.Tools
	dir string // working directory
	env []string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	c, err := ipv6Only()
	if err != nil {
		t.Fatal(err)
	}
	tools, err := cluster.FindTools(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{Cluster: c, Tools: tools, dir: t.TempDir()}
	s.env = append(os.Environ(), "HOME="+t.TempDir(), "KUBECONFIG="+c.Kubeconfig, "PATH="+filepath.Join(root, "bin")+":"+os.Getenv("PATH"))
	if err := os.CopyFS(s.dir, os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	return s
}

// run returns what a program writes, and its exit code.
func (s *shell) run(t *testing.T, stdin, program string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = s.dir, s.env, strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	t.Logf("%s %s: exit code %d\n%s", filepath.Base(program), strings.Join(args, " "), cmd.ProcessState.ExitCode(), errs.String())
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must is run for what succeeds.
func (s *shell) must(t *testing.T, stdin, program string, args ...string) string {
	t.Helper()
	out, errs, code := s.run(t, stdin, program, args...)
	if code != 0 {
		t.Fatalf("exit code %d: %s%s", code, out, errs)
	}
	return out
}

// families are those that the API server has stored for a Service.
func (s *shell) families(t *testing.T, service string) string {
	t.Helper()
	out, errs, code, err := s.Kubectl(t.Context(), "", "get", "service", service, "-o", "jsonpath={.spec.ipFamilies[*]}")
	if err != nil || code != 0 {
		t.Fatalf("%v: %s", err, errs)
	}
	return out
}

func contains(t *testing.T, got string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
}

// refused is what an API server says without Sixgate.
const refused = `spec.ipFamilies[0]: Invalid value: "IPv4": not configured on this cluster`

// TestHelm3: --post-renderer takes a program. Helm 3 does not pass hooks to it.
func TestHelm3(t *testing.T) {
	s := newShell(t)
	_, errs, code := s.run(t, "", s.Helm3, "install", "three", "shop")
	if code == 0 {
		t.Fatal("the API server takes the chart as it is")
	}
	contains(t, errs, refused)
	s.must(t, "", s.Helm3, "uninstall", "three")

	fix := []string{"--post-renderer", "sixgate", "--post-renderer-args", "fix", "--post-renderer-args", "-"}
	with := func(args ...string) []string { return slices.Concat(args, fix) }
	s.must(t, "", s.Helm3, with("install", "three", "shop")...)
	s.must(t, "", s.Helm3, with("upgrade", "three", "shop")...)
	if f := s.families(t, "three"); f != "IPv6" {
		t.Errorf("families %q", f)
	}
	contains(t, s.must(t, "", s.Helm3, "get", "manifest", "three"),
		"# Source: shop/templates/service.yaml", "# The port of the shop.", "ipFamilies: [IPv6] # the first cluster\n  ports:\n  - port: 80 # http")
	_, errs, code = s.run(t, "", s.Helm3, with("upgrade", "three", "shop", "--set", "hook=true")...)
	if code == 0 {
		t.Error("Helm 3 passes hooks to the post-renderer: say so in docs/ci.md")
	}
	contains(t, errs, `Service "three-hook" is invalid`)

	// What needs a person stops it, and says why.
	_, errs, code = s.run(t, "", s.Helm3, with("upgrade", "three", "shop", "--set", "hostIP=192.0.2.1")...)
	if code == 0 {
		t.Error("an IPv4 host address is taken")
	}
	contains(t, errs, `spec.containers[0].ports[0].hostIP: "192.0.2.1" publishes on IPv4 only`, "[host-port-ipv4]")
	s.must(t, "", s.Helm3, append(with("upgrade", "three", "shop", "--set", "hostIP=192.0.2.1"), "--post-renderer-args", "--fail-on=none")...)
}

// TestHelm4: --post-renderer takes the name of a plugin. Hooks are repaired too.
func TestHelm4(t *testing.T) {
	s := newShell(t)
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	_, errs, code := s.run(t, "", s.Helm4, "install", "four", "shop")
	if code == 0 {
		t.Fatal("the API server takes the chart as it is")
	}
	contains(t, errs, refused)
	s.must(t, "", s.Helm4, "uninstall", "four")

	s.must(t, "", s.Helm4, "plugin", "install", filepath.Join(root, "integrations", "helm"))
	contains(t, s.must(t, "", s.Helm4, "plugin", "list"), "postrenderer/v1")
	s.must(t, "", s.Helm4, "install", "four", "shop", "--set", "hook=true", "--post-renderer", "sixgate")
	s.must(t, "", s.Helm4, "upgrade", "four", "shop", "--reuse-values", "--post-renderer", "sixgate")
	if f := s.families(t, "four"); f != "IPv6" {
		t.Errorf("families %q", f)
	}
	contains(t, s.must(t, "", s.Helm4, "get", "manifest", "four"),
		"# Source: shop/templates/service.yaml", "# The port of the shop.", "ipFamilies: [IPv6] # the first cluster")
	contains(t, s.must(t, "", s.Helm4, "get", "hooks", "four"), "ipFamilyPolicy: SingleStack, ipFamilies: [IPv6]")

	// What needs a person does not stop it: Helm 4 does not show what a plugin says.
	hostIP := []string{"upgrade", "four", "shop", "--set", "hostIP=192.0.2.1", "--post-renderer", "sixgate"}
	s.must(t, "", s.Helm4, hostIP...)
	if _, _, code := s.run(t, "", s.Helm4, append(hostIP, "--post-renderer-args", "--fail-on=deny")...); code == 0 {
		t.Error("an IPv4 host address is taken")
	}
}

const warnPolicy = `apiVersion: sixgate.io/v1alpha1
kind: Policy
metadata: {name: sixgate, annotations: {config.kubernetes.io/function: "exec: {path: sixgate, args: [krm, --quiet]}"}}
rules: {host-port-ipv4: warn}
`

const pod = `apiVersion: v1
kind: Pod
metadata: {name: overlay}
spec: {containers: [{name: web, image: web, ports: [{containerPort: 80, hostPort: 80, hostIP: 192.0.2.1}]}]} # a list
`

func (s *shell) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (s *shell) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestKustomize builds an overlay with Sixgate as a transformer, and applies it.
func TestKustomize(t *testing.T) {
	s := newShell(t)
	s.write(t, "overlay/pod.yaml", pod)
	build := []string{"build", "--enable-alpha-plugins", "--enable-exec", "overlay"}
	out, errs, code := s.run(t, "", s.Kustomize, build...)
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	contains(t, errs, `repaired: service.yaml: Service test-overlay: spec.ipFamilies[0]: changed "IPv4" to "IPv6"`)
	s.must(t, out, s.Assets.Kubectl, "apply", "-f", "-")
	if f := s.families(t, "test-overlay"); f != "IPv6" {
		t.Errorf("families %q", f)
	}
	plain := strings.Replace(s.read(t, "overlay/kustomization.yaml"), "transformers: [sixgate.yaml]\n", "", 1)
	s.write(t, "overlay/kustomization.yaml", plain)
	out = s.must(t, "", s.Kustomize, build...)
	_, errs, _ = s.run(t, strings.Replace(out, "test-overlay", "plain", 1), s.Assets.Kubectl, "apply", "-f", "-")
	contains(t, errs, refused)

	// What needs a person ends the build, unless the policy says otherwise.
	s.write(t, "overlay/kustomization.yaml", "resources: [service.yaml, pod.yaml]\ntransformers: [sixgate.yaml]\n")
	_, errs, code = s.run(t, "", s.Kustomize, build...)
	if code == 0 {
		t.Error("an IPv4 host address is taken")
	}
	contains(t, errs, `error: Pod overlay: spec.containers[0].ports[0].hostIP: "192.0.2.1" publishes on IPv4 only`)
	s.write(t, "overlay/sixgate.yaml", warnPolicy)
	if _, errs, code = s.run(t, "", s.Kustomize, build...); code != 0 || strings.Contains(errs, "overlay") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	s.write(t, "overlay/sixgate.yaml", strings.Replace(warnPolicy, "host-port-ipv4", "host-port", 1))
	_, errs, code = s.run(t, "", s.Kustomize, build...)
	if code == 0 {
		t.Error("a policy with an unknown rule is taken")
	}
	contains(t, errs, `sixgate: read policy functionConfig: unknown rule "host-port"`)
}

// inPlace checks what a function has made of a folder, and what it said.
func (s *shell) inPlace(t *testing.T, results string) {
	t.Helper()
	want := strings.Replace(s.read(t, "overlay/service.yaml"), "[IPv4]", "[IPv6]", 1) + "---\n" + pod
	if got := s.read(t, "package/all.yaml"); got != want {
		t.Errorf("repaired:\n%s", got)
	}
	type result struct {
		Message, Severity string
		ResourceRef       struct{ APIVersion, Kind, Name string }
		Field             struct{ Path string }
		File              struct {
			Path  string
			Index int
		}
		Tags map[string]string
	}
	var got struct {
		Items []struct{ Results []result } // of kpt
	}
	var list []result
	if err := yaml.Unmarshal([]byte(results), &list); err != nil { // of kustomize
		if err := yaml.Unmarshal([]byte(results), &got); err != nil || len(got.Items) != 1 {
			t.Fatalf("%v: %s", err, results)
		}
		list = got.Items[0].Results
	}
	if len(list) != 2 {
		t.Fatalf("%d results: %s", len(list), results)
	}
	if r := list[0]; r.Severity != "info" || r.Field.Path != "spec.ipFamilies[0]" || r.File.Path != "all.yaml" || r.File.Index != 0 || r.ResourceRef.Kind != "Service" {
		t.Errorf("%+v", r)
	}
	if r := list[1]; r.Severity != "warning" || r.Tags["rule"] != "host-port-ipv4" || r.File.Index != 1 || r.ResourceRef.APIVersion != "v1" || r.ResourceRef.Name != "overlay" {
		t.Errorf("%+v", r)
	}
}

func (s *shell) makePackage(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(s.dir, "package"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.write(t, "package/all.yaml", s.read(t, "overlay/service.yaml")+"---\n"+pod)
	s.write(t, "policy.yaml", warnPolicy)
}

// TestKustomizeInPlace runs the function on a folder, as kpt does: comments stay.
func TestKustomizeInPlace(t *testing.T) {
	s := newShell(t)
	s.makePackage(t)
	if err := os.MkdirAll(filepath.Join(s.dir, "results"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.must(t, "", s.Kustomize, "fn", "run", "package", "--enable-exec", "--fn-path", "policy.yaml", "--results-dir", "results")
	s.inPlace(t, s.read(t, "results/results-0.yaml"))
}

// TestKpt runs the function in kpt, which is no Go module and so only there where somebody has installed it.
func TestKpt(t *testing.T) {
	kpt, err := exec.LookPath("kpt")
	if err != nil {
		t.Skip("kpt is not on PATH; TestKustomizeInPlace does the same by kustomize")
	}
	s := newShell(t)
	s.makePackage(t)
	s.must(t, "", kpt, "fn", "eval", "package", "--exec", "sixgate krm -q", "--fn-config", "policy.yaml", "--results-dir", "results")
	s.inPlace(t, s.read(t, "results/results.yaml"))

	s.makePackage(t)
	s.write(t, "package/sixgate.yaml", s.read(t, "policy.yaml"))
	s.write(t, "package/Kptfile", "apiVersion: kpt.dev/v1\nkind: Kptfile\nmetadata: {name: shop}\n"+
		"pipeline: {mutators: [{exec: sixgate krm -q, configPath: sixgate.yaml}]}\n")
	s.must(t, "", kpt, "fn", "render", "package", "--allow-exec", "--results-dir", "rendered")
	s.inPlace(t, s.read(t, "rendered/results.yaml"))
}
