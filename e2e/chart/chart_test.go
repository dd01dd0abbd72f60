//go:build e2e

// Package chart installs the Helm chart by real Helm 3 and Helm 4 on a real API server with IPv6 only, and upgrades, rolls back
// and removes it. No node runs its pods: the webhook and the check run on this machine, with the rights of their ServiceAccounts.
package chart

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
	"testing"
	"time"

	"github.com/sixgate/sixgate/e2e/cluster"
)

func TestMain(m *testing.M) {
	os.Exit(cluster.TestMain(m.Run, cluster.Need(cluster.FindTools), cluster.Need(cluster.FindCrane)))
}

const namespace = "sixgate-system"

const ipv4Service = `apiVersion: v1
kind: Service
metadata: {name: %s, namespace: default}
spec: {ipFamilies: [IPv4], ports: [{port: 80}]}
`

const plainPod = `apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default}
spec: {containers: [{name: a, image: registry.example.net/a}]}
`

// An installer is one version of Helm and a cluster.
type installer struct {
	*cluster.Cluster
	helm, root string
	env        []string
}

func TestChart(t *testing.T) {
	tools, err := cluster.FindTools(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	c := cluster.ForTest(t, cluster.Options{ControllerManager: true})
	if c.Assets.ControllerManager == "" {
		t.Skip("KUBEBUILDER_ASSETS has no kube-controller-manager: no Job of the chart would end")
	}
	for _, helm := range []string{tools.Helm3, tools.Helm4} {
		in := &installer{Cluster: c, helm: helm, root: root}
		in.env = append(os.Environ(), "HOME="+t.TempDir(), "KUBECONFIG="+c.Kubeconfig)
		t.Run(filepath.Base(helm), in.test)
		if helm == tools.Helm4 {
			t.Run("scheduled audit", in.testScheduledAudit)
		}
	}
}

// testScheduledAudit: the CronJob's Pod, with the rights of its ServiceAccount and nothing else, writes reports; the Job succeeds.
func (in *installer) testScheduledAudit(t *testing.T) {
	module, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/openreports/reports-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	crds := filepath.Join(strings.TrimSpace(string(module)), "config", "crd")
	in.must(t, "", "apply", "-f", crds)
	in.must(t, "", "wait", "--for=condition=Established", "--timeout=2m", "-f", crds)
	in.must(t, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"broken","namespace":"default"},"data":{"default.conf":"server {\n  listen 80;\n}\n"}}`, "apply", "-f", "-")
	in.helmMust(t, in.release("install", "--create-namespace", "--set", "audit.enabled=true,events.enabled=true")...)
	in.must(t, "", "create", "job", "--from=cronjob/sixgate-audit", "now", "-n", namespace)
	var pod string
	eventually(t, func() error {
		pod = in.must(t, "", "get", "pods", "-n", namespace, "-l", "app=sixgate-audit", "-o", "jsonpath={.items[*].metadata.name}")
		if pod == "" {
			return errors.New("the Job has no Pod")
		}
		return nil
	})
	get := func(path string) string {
		t.Helper()
		return in.must(t, "", "get", "pod", pod, "-n", namespace, "-o", "jsonpath={"+path+"}")
	}
	if command, account := get(".spec.containers[0].command"), get(".spec.serviceAccountName"); command != `["/sixgate"]` || account != "sixgate-audit" {
		t.Fatalf("%s as %s", command, account)
	}
	config, policy := filepath.Join(t.TempDir(), "kubeconfig"), filepath.Join(t.TempDir(), "policy.yaml")
	if err := in.WriteKubeconfig(t.Context(), config, "sixgate-audit"); err != nil {
		t.Fatal(err)
	}
	text := in.must(t, "", "get", "configmap", "sixgate-policy", "-n", namespace, "-o", `jsonpath={.data.policy\.yaml}`)
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := strings.Fields(strings.NewReplacer("/etc/sixgate/policy.yaml", policy).Replace(in.must(t, "", "get", "pod", pod, "-n", namespace, "-o", `jsonpath={range .spec.containers[0].args[*]}{@}{"\n"}{end}`)))
	out, err := exec.CommandContext(t.Context(), filepath.Join(in.root, "bin/sixgate"), append(args, "--kubeconfig="+config)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	contains(t, string(out), "reports of openreports.io: ", " written, 0 deleted, 0 unchanged")
	contains(t, in.must(t, "", "get", "reports", "-n", "default", "-o", "yaml"), "listen-nginx", "name: broken")
	in.must(t, "", "patch", "pod", pod, "-n", namespace, "--subresource=status", "--type=merge", "-p", `{"status":{"phase":"Succeeded"}}`)
	in.must(t, "", "wait", "--for=condition=Complete", "--timeout=2m", "job/now", "-n", namespace)
	for _, args := range [][]string{{"list", "secrets"}, {"get", "pods"}, {"patch", "pods"}, {"create", "events.events.k8s.io"}} {
		answer, _, _, err := in.Kubectl(t.Context(), "", append([]string{"auth", "can-i", "-A", "--as=system:serviceaccount:" + namespace + ":sixgate-audit"}, args...)...)
		if err != nil || strings.TrimSpace(answer) != "no" {
			t.Errorf("can-i %v: %q %v", args, answer, err)
		}
	}
	in.must(t, "", "auth", "can-i", "create", "events.events.k8s.io", "-A", "--as=system:serviceaccount:"+namespace+":sixgate-webhook")
	in.helmMust(t, "uninstall", "sixgate", "-n", namespace, "--timeout=60s")
	eventually(t, func() error {
		left := in.must(t, "", "get", "cronjobs,serviceaccounts,clusterroles,clusterrolebindings,networkpolicies", "-A", "-l", "app.kubernetes.io/name=sixgate", "-o", "name", "--ignore-not-found")
		if strings.TrimSpace(left) != "" {
			return fmt.Errorf("left: %s", left)
		}
		return nil
	})
	// As docs/install.md says.
	in.must(t, "", "delete", "reports,clusterreports", "-A", "-l", "sixgate.io/report=object")
}

func (in *installer) test(t *testing.T) {
	t.Run("lint and render", in.testRender)
	kubectl := func(args ...string) string { t.Helper(); return in.must(t, "", args...) }
	policies := func() string {
		t.Helper()
		return kubectl("get", "mutatingwebhookconfiguration/sixgate", "validatingwebhookconfiguration/sixgate", "-o", "jsonpath={range .items[*]}{.webhooks[0].failurePolicy} {end}")
	}
	wantPolicies := func(want string) {
		t.Helper()
		if got := policies(); got != want {
			t.Errorf("failurePolicy is %q, not %q", got, want)
		}
	}

	// Install. Before a server is there, everything goes through.
	out := in.helmMust(t, in.release("install", "--create-namespace")...)
	contains(t, out, "create configmap sixgate-check --dry-run=server", "audit --cluster")
	wantPolicies("Ignore Ignore ")
	in.must(t, fmt.Sprintf(plainPod, "early"), "create", "-f", "-")
	in.must(t, "", "delete", "pod", "early", "--now")
	if out := kubectl("get", "mutatingwebhookconfiguration/sixgate", "-o", "jsonpath={.webhooks[*].clientConfig.caBundle}"); out != "" {
		t.Errorf("the registration was made with a CA: %s", out)
	}
	if got := kubectl("get", "service", "sixgate-webhook", "-n", namespace, "-o", "jsonpath={.spec.ipFamilyPolicy} {.spec.ipFamilies}"); got != `SingleStack ["IPv6"]` {
		t.Errorf("the Service is %s", got)
	}
	kubectl("delete", "pods", "-n", namespace, "--all", "--now")
	eventually(t, func() error { // made anew, under the restricted level
		if n := len(strings.Fields(kubectl("get", "pods", "-n", namespace, "-l", "app=sixgate-webhook", "-o", "name"))); n < 2 {
			return fmt.Errorf("%d pods of the webhook", n)
		}
		return nil
	})

	sixgate, err := in.InstallSixgate(t.Context(), cluster.SixgateOptions{Applied: true})
	if err != nil {
		t.Fatal(err)
	}
	stop := func() {
		for i := range sixgate.Replicas {
			if err := sixgate.Stop(i); err != nil {
				t.Error(err)
			}
		}
	}
	eventually(t, func() error {
		_, stderr, _, err := in.Kubectl(t.Context(), "", "-n", namespace, "create", "configmap", "sixgate-check", "--dry-run=server")
		for _, want := range []string{"sixgate mutate answered", "sixgate validate answered"} {
			if !strings.Contains(stderr, want) {
				return fmt.Errorf("%q is not in %s (%v)", want, stderr, err)
			}
		}
		return err
	})
	in.must(t, fmt.Sprintf(ipv4Service, "mutated"), "apply", "-f", "-")
	if got := kubectl("get", "service", "mutated", "-o", "jsonpath={.spec.ipFamilies[*]}"); got != "IPv6" {
		t.Errorf("the families of the Service are %s", got)
	}
	done := in.background(t, "test", "sixgate", "-n", namespace)
	if out := in.playCheck(t, done); out.code != 0 || !strings.Contains(out.text, "Succeeded") {
		t.Errorf("helm test: %s", out.text)
	}
	fail := []string{"--set", "webhooks.mutate.failurePolicy=Fail,webhooks.validate.failurePolicy=Fail"}

	// Upgrade to Fail while the webhook is away: the check sees it, the release fails, and nothing is closed.
	stop()
	done = in.background(t, append(in.release("upgrade", fail...), "--set", "check.timeout=3s")...)
	if out := in.playCheck(t, done); out.code == 0 {
		t.Errorf("helm upgrade has succeeded: %s", out.text)
	} else {
		t.Logf("exit code %d: %s", out.code, out.text)
	}
	if left := kubectl("get", "jobs", "-n", namespace, "-o", "name"); left != "" {
		t.Errorf("left: %s", left)
	}
	wantPolicies("Ignore Ignore ")

	// And while it is there.
	if err := errors.Join(sixgate.Start(0), sixgate.WaitReady(t.Context())); err != nil {
		t.Fatal(err)
	}
	bundle := kubectl("get", "mutatingwebhookconfiguration/sixgate", "-o", "jsonpath={.webhooks[0].clientConfig.caBundle}")
	done = in.background(t, in.release("upgrade", fail...)...)
	if out := in.playCheck(t, done); out.code != 0 {
		t.Fatalf("helm upgrade: %s", out.text)
	}
	wantPolicies("Fail Fail ")
	if now := kubectl("get", "mutatingwebhookconfiguration/sixgate", "-o", "jsonpath={.webhooks[0].clientConfig.caBundle}"); now != bundle || bundle == "" {
		t.Error("the upgrade has changed the CA")
	}
	if managers := kubectl("get", "mutatingwebhookconfiguration/sixgate", "-o", "jsonpath={.metadata.managedFields[*].manager}"); strings.Contains(managers, "sixgate-check") {
		t.Errorf("the check owns a field: %s", managers)
	}
	stop()
	_, stderr, code, err := in.Kubectl(t.Context(), fmt.Sprintf(plainPod, "closed"), "create", "-f", "-")
	if err != nil || code == 0 || !strings.Contains(stderr, `failed calling webhook "mutate.sixgate.io"`) {
		t.Errorf("with Fail and no server: %d %s %v", code, stderr, err)
	}
	if err := errors.Join(sixgate.Start(0), sixgate.WaitReady(t.Context())); err != nil {
		t.Fatal(err)
	}

	// A further upgrade: Fail stays in force all the time, so the registrations are not touched.
	generation := func() string {
		t.Helper()
		return kubectl("get", "mutatingwebhookconfiguration/sixgate", "validatingwebhookconfiguration/sixgate", "-o", "jsonpath={.items[*].metadata.generation}")
	}
	before := generation()
	done = in.background(t, append(in.release("upgrade", fail...), "--set", "replicas=3")...)
	if out := in.playCheck(t, done); out.code != 0 {
		t.Fatalf("helm upgrade: %s", out.text)
	}
	if now := generation(); now != before {
		t.Errorf("the registrations were changed: %s, before %s", now, before)
	}
	wantPolicies("Fail Fail ")

	// Back to Ignore, and by rollback to Fail again.
	in.helmMust(t, in.release("upgrade")...)
	wantPolicies("Ignore Ignore ")
	done = in.background(t, "rollback", "sixgate", "-n", namespace)
	if out := in.playCheck(t, done); out.code != 0 {
		t.Fatalf("helm rollback: %s", out.text)
	}
	wantPolicies("Fail Fail ")

	// Uninstall while it is closed and no server is there: nothing blocks the API server, and nothing is left.
	stop()
	in.helmMust(t, "uninstall", "sixgate", "-n", namespace, "--timeout=60s")
	eventually(t, func() error {
		_, stderr, code, err := in.Kubectl(t.Context(), fmt.Sprintf(plainPod, "after"), "create", "-f", "-")
		if code != 0 {
			return errors.New(stderr)
		}
		return err
	})
	kubectl("delete", "pod/after", "service/mutated", "--now")
	kinds := strings.Fields(kubectl("api-resources", "--verbs=list", "-o", "name"))
	kinds = slices.DeleteFunc(kinds, func(k string) bool { return strings.HasPrefix(k, "componentstatuses") })
	eventually(t, func() error { // the garbage collector takes what Helm's objects owned
		if left := kubectl("get", strings.Join(kinds, ","), "-A", "-l", "app.kubernetes.io/name=sixgate", "-o", "name", "--ignore-not-found"); strings.TrimSpace(left) != "" {
			return fmt.Errorf("left: %s", left)
		}
		if left := kubectl("get", "pods,jobs,configmaps,secrets,serviceaccounts", "-n", namespace, "-o", "name"); strings.Contains(left, "sixgate") {
			return fmt.Errorf("left: %s", left)
		}
		return nil
	})
}

// testRender: what the chart gives for each of the tested values passes lint, is nothing that Sixgate itself would find fault
// with, and is what the API server takes.
func (in *installer) testRender(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(in.root, "tools/generate/testdata/chart/*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	if _, stderr, _, err := in.Kubectl(t.Context(), "", "create", "namespace", namespace); err != nil {
		t.Fatal(stderr, err)
	}
	in.must(t, "", "label", "namespace", namespace, "--overwrite", "pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/warn=restricted")
	in.must(t, "", "create", "--save-config", "serviceaccount", "sixgate-check", "-n", namespace) // no Pod is admitted without its own
	defer in.must(t, "", "delete", "serviceaccount", "sixgate-check", "-n", namespace)
	for _, file := range append(files, "/dev/null") {
		chart := filepath.Join(in.root, "charts/sixgate")
		in.helmMust(t, "lint", "--strict", "--kube-version=v1.37.0", chart, "-f", file)
		rendered := in.helmMust(t, "template", "sixgate", chart, "-n", namespace, "--kube-version=v1.37.0", "-f", file)
		cmd := exec.CommandContext(t.Context(), filepath.Join(in.root, "bin/sixgate"), "audit", "-")
		cmd.Stdin = strings.NewReader(rendered)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "0 denied, 0 changed, 0 warned") {
			t.Errorf("%s: audit: %v\n%s", filepath.Base(file), err, out)
		}
		var builtin []string // the cluster has no cert-manager and no Prometheus Operator
		for _, doc := range strings.Split(rendered, "\n---\n") {
			if !strings.Contains(doc, "cert-manager.io/v1\n") && !strings.Contains(doc, "monitoring.coreos.com/v1\n") {
				builtin = append(builtin, doc)
			}
		}
		_, stderr, code, err := in.Kubectl(t.Context(), strings.Join(builtin, "\n---\n"), "apply", "--dry-run=server", "-f", "-")
		if err != nil || code != 0 || strings.Contains(stderr, "Warning") {
			t.Errorf("%s: dry run: %d %v\n%s", filepath.Base(file), code, err, stderr)
		}
	}
	if _, out := in.helmRun(t, "template", filepath.Join(in.root, "charts/sixgate"), "--kube-version=v1.32.9"); !strings.Contains(out, "incompatible with Kubernetes") {
		t.Errorf("on Kubernetes 1.32: %s", out)
	}
}

// TestAlerts: each alert fires on its fault, and none where all is well.
func TestAlerts(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is missing: apt-get install prometheus")
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", "testdata/alerts_test.yaml").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// release are the arguments of helm install or upgrade.
func (in *installer) release(verb string, more ...string) []string {
	return append([]string{verb, "sixgate", filepath.Join(in.root, "charts/sixgate"), "-n", namespace,
		"--set-file", "policy=" + filepath.Join(in.root, "config/webhook/policy.yaml")}, more...)
}

func (in *installer) helmRun(t *testing.T, args ...string) (code int, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, in.helm, args...)
	cmd.Env = in.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Error(err)
		return -1, ""
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func (in *installer) helmMust(t *testing.T, args ...string) string {
	t.Helper()
	code, out := in.helmRun(t, args...)
	if code != 0 {
		t.Fatalf("helm %s: %s", strings.Join(args, " "), out)
	}
	return out
}

func (in *installer) must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, stderr, code, err := in.Kubectl(t.Context(), stdin, args...)
	if err != nil || code != 0 {
		t.Fatalf("kubectl %s: %v %s", strings.Join(args, " "), err, stderr)
	}
	return out
}

// A result is what Helm said.
type result struct {
	code int
	text string
}

// background starts Helm, which waits for its hooks.
func (in *installer) background(t *testing.T, args ...string) <-chan result {
	done := make(chan result, 1)
	go func() {
		code, text := in.helmRun(t, append(args, "--timeout=2m")...)
		done <- result{code, text}
	}()
	return done
}

// playCheck does the kubelet's part until Helm ends: it runs what the Job's pods say, with their ServiceAccount's rights.
func (in *installer) playCheck(t *testing.T, done <-chan result) result {
	t.Helper()
	config := filepath.Join(t.TempDir(), "kubeconfig")
	seen := map[string]bool{}
	for {
		select {
		case r := <-done:
			if len(seen) == 0 {
				t.Error("Helm has not run the check")
			}
			return r
		case <-time.After(200 * time.Millisecond):
		}
		for _, uid := range strings.Fields(in.must(t, "", "get", "pods", "-n", namespace, "-l", "app=sixgate-check", "--field-selector=status.phase=Pending", "-o", "jsonpath={.items[*].metadata.uid}")) {
			if seen[uid] {
				continue
			}
			seen[uid] = true
			pod := in.must(t, "", "get", "pods", "-n", namespace, "-o", `jsonpath={.items[?(@.metadata.uid=="`+uid+`")].metadata.name}`)
			args := strings.Fields(in.must(t, "", "get", "pod", pod, "-n", namespace, "-o", `jsonpath={range .spec.containers[0].args[*]}{@}{"\n"}{end}`))
			if err := in.WriteKubeconfig(t.Context(), config, "sixgate-check"); err != nil {
				t.Fatal(err)
			}
			phase := "Succeeded"
			out, err := exec.CommandContext(t.Context(), filepath.Join(in.root, "bin/webhook"), append(args, "--kubeconfig="+config)...).CombinedOutput()
			if err != nil {
				phase = "Failed"
			}
			t.Logf("%s %v: %s\n%s", pod, args, phase, out)
			in.must(t, "", "patch", "pod", pod, "-n", namespace, "--subresource=status", "--type=merge", "-p", `{"status":{"phase":"`+phase+`"}}`)
		}
	}
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
}

// eventually polls until check returns nil.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}
