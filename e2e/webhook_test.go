//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// TestWebhook runs two replicas on a cluster of its own, stops them, and takes away what they need.
func TestWebhook(t *testing.T) {
	in, err := start(cluster.Options{}, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := in.install(ctx, cluster.SixgateOptions{Replicas: 2, Components: []string{"audit"}, Args: []string{
		"--policy-poll-interval=200ms", "--ca-poll-interval=300ms", "--ca-overlap=3s", "--certificate-duration=1m", "--ca-duration=1h",
	}}); err != nil {
		t.Fatal(err)
	}
	t.Run("rights", in.testRights)
	t.Run("check", in.testCheck)
	t.Run("metrics", in.testMetrics)
	t.Run("logs", in.testLogs)
	t.Run("policy", in.testPolicyReload)
	t.Run("rotation", in.testRotation)
	t.Run("stopped", in.testStopped)
	t.Run("readiness", in.testReadiness)
	t.Run("install again", in.testInstallAgain)
}

// testRights: the ServiceAccount may do what the webhook does, and nothing else.
func (in *installation) testRights(t *testing.T) {
	const user = "--as=system:serviceaccount:sixgate-system:sixgate-webhook"
	// What everybody may do: ask who they are, and read what the API server offers.
	everybody := []string{"selfsubject", "clustertrustbundles", "[/"}
	rights := func(namespace string) []string {
		var out []string
		for line := range strings.Lines(in.must(t, "", "auth", "can-i", "--list", "--no-headers", user, "-n", namespace).out) {
			if !slices.ContainsFunc(everybody, func(s string) bool { return strings.Contains(line, s) }) && strings.TrimSpace(line) != "" {
				out = append(out, strings.Join(strings.Fields(line), " "))
			}
		}
		slices.Sort(out)
		return out
	}
	everywhere := []string{
		"mutatingwebhookconfigurations.admissionregistration.k8s.io [] [sixgate] [get patch]",
		"servicecidrs.networking.k8s.io [] [kubernetes] [get]",
		"services [] [kubernetes] [get]",
		"validatingwebhookconfigurations.admissionregistration.k8s.io [] [sixgate] [get patch]",
	}
	in.must(t, "", "get", "cronjob/sixgate-audit", "serviceaccount/sixgate-audit", "-n", "sixgate-system") // whose rights are not the webhook's
	if got := rights("default"); !slices.Equal(got, everywhere) {
		t.Errorf("rights in default:\n%s", strings.Join(got, "\n"))
	}
	want := slices.Insert(slices.Clone(everywhere), 1, "secrets [] [sixgate-webhook-ca] [get update]")
	if got := rights("sixgate-system"); !slices.Equal(got, want) {
		t.Errorf("rights in sixgate-system:\n%s", strings.Join(got, "\n"))
	}
	for _, args := range [][]string{
		{"get", "secrets", "-n", "sixgate-system"}, {"get", "secret/other", "-n", "sixgate-system"}, {"get", "secret/sixgate-webhook-ca", "-n", "default"},
		{"create", "secrets", "-n", "sixgate-system"}, {"get", "pods", "-n", "default"}, {"patch", "mutatingwebhookconfiguration/other"},
	} {
		r := in.run(t, "", append([]string{"auth", "can-i", user}, args...)...)
		if r.code == 0 || strings.TrimSpace(r.out) != "no" {
			t.Errorf("can-i %v: %q", args, r.out)
		}
	}
}

// testCheck: anybody who may create ConfigMaps sees whether the API server reaches the webhook.
func (in *installation) testCheck(t *testing.T) {
	r := in.must(t, "", "-n", "sixgate-system", "create", "configmap", "sixgate-check", "--dry-run=server")
	contains(t, r.err, "Warning: sixgate mutate answered")
	contains(t, r.err, "Warning: sixgate validate answered")
}

func (in *installation) testMetrics(t *testing.T) {
	ns := in.namespace(t, "metrics")
	in.must(t, service(ns, "x", "ipFamilies: [IPv4]"), "apply", "-f", "-")
	in.run(t, pod(ns, "x", ", ports: [{containerPort: 80, hostPort: 80, hostIP: 127.0.0.1}]"), "apply", "-f", "-")
	sum := func(name string, labels ...string) (n float64) {
		for i := range in.sixgate.Replicas {
			n += in.metric(t, i, name, labels...)
		}
		return n
	}
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"sixgate_requests_total", []string{`kind="Service"`, `operation="CREATE"`, `result="changed"`, `webhook="mutate"`}, 1},
		{"sixgate_requests_total", []string{`kind="Pod"`, `operation="CREATE"`, `result="denied"`, `webhook="validate"`}, 1},
		{"sixgate_findings_total", []string{`rule="service-ip-family"`, `action="changed"`}, 1},
		{"sixgate_findings_total", []string{`rule="host-port-ipv4"`, `action="denied"`}, 1},
		{"sixgate_cluster_ipv6_only", nil, 2},
		{"sixgate_policy_stale", nil, 0},
		{"sixgate_panics_total", nil, 0},
		{"sixgate_policy_info", nil, 2},
		{"sixgate_registration_fail_open", nil, 4},
		{"sixgate_registration_trusted", nil, 4},
	} {
		if n := sum(c.name, c.labels...); n != c.want {
			t.Errorf("%s%v is %v, not %v", c.name, c.labels, n, c.want)
		}
	}
	for _, webhook := range []string{"mutate", "validate"} {
		if sum("sixgate_request_duration_seconds_count", fmt.Sprintf("webhook=%q", webhook)) == 0 || sum("sixgate_last_request_timestamp_seconds", fmt.Sprintf("webhook=%q", webhook)) == 0 {
			t.Errorf("%s: no latency, or no time of the last request", webhook)
		}
	}
	now := float64(time.Now().Unix())
	for _, certificate := range []string{"serving", "ca"} {
		for i := range in.sixgate.Replicas {
			if v := in.metric(t, i, "sixgate_certificate_expiry_timestamp_seconds", fmt.Sprintf("certificate=%q", certificate)); v <= now {
				t.Errorf("replica %d: the %s certificate expires at %v, it is %v", i, certificate, v, now)
			}
		}
	}
}

// testLogs: a line of JSON for each changed or refused request, and never the object.
func (in *installation) testLogs(t *testing.T) {
	ns := in.namespace(t, "logs")
	const marker = "c0nfident1al"
	in.must(t, strings.Replace(service(ns, "changed", "ipFamilies: [IPv4]"), "metadata: {", "metadata: {annotations: {a: "+marker+"}, ", 1), "create", "-f", "-")
	in.must(t, service(ns, "fine", "type: ClusterIP"), "create", "-f", "-")
	in.must(t, pod(ns, "changed", ", env: [{name: A, value: "+marker+"}]"), "create", "-f", "-")
	nginx := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: denied, namespace: " + ns + "}\ndata:\n  secret: " + marker +
		"\n  default.conf: |\n    # " + marker + "\n    server {\n      listen 80;\n    }\n"
	if r := in.run(t, nginx, "create", "-f", "-"); r.code == 0 {
		t.Error("the ConfigMap was accepted")
	}
	if r := in.run(t, nginx, "create", "--dry-run=server", "-f", "-"); r.code == 0 {
		t.Error("the ConfigMap was accepted in a dry run")
	}
	var lines []string
	for _, r := range in.sixgate.Replicas {
		text, err := os.ReadFile(r.Log)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(marker)) {
			t.Errorf("the content of an object is in %s", r.Log)
		}
		for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
			var line struct {
				Msg, Kind, Namespace, Name, Operation, User, UID, Findings string
				DryRun                                                     bool
			}
			if err := json.Unmarshal(s.Bytes(), &line); err != nil {
				t.Errorf("not a line of JSON: %s", s.Text())
			}
			if line.Namespace != ns {
				continue
			}
			if line.Operation != "CREATE" || line.User != "sixgate-admin" || line.UID == "" || line.Findings == "" {
				t.Errorf("incomplete: %s", s.Text())
			}
			lines = append(lines, fmt.Sprintf("%s %s %s %t", line.Msg, line.Kind, line.Name, line.DryRun))
		}
	}
	slices.Sort(lines)
	want := []string{"changed Pod changed false", "changed Service changed false", "denied ConfigMap denied false", "denied ConfigMap denied true"}
	if !slices.Equal(lines, want) {
		t.Errorf("lines:\n%s", strings.Join(lines, "\n"))
	}
}

// testPolicyReload: a bad file keeps the old policy in force and is seen in the metrics; so is a file that is gone.
func (in *installation) testPolicyReload(t *testing.T) {
	ns := in.namespace(t, "policy")
	host := func(name, want string) {
		t.Helper()
		in.must(t, pod(ns, name, ""), "create", "-f", "-")
		in.expect(t, want, ".spec.containers[0].env[0].value", "pod", name, "-n", ns)
	}
	stale := func(want float64) {
		t.Helper()
		for i := range in.sixgate.Replicas {
			if v := in.metric(t, i, "sixgate_policy_stale"); v != want {
				t.Errorf("replica %d: sixgate_policy_stale is %v, not %v", i, v, want)
			}
		}
	}
	second := strings.Replace(policyText, "api.example.net", "second.example.net", 1)
	host("first", "api.example.net")
	in.setPolicy(t, second, "ok")
	host("second", "second.example.net")
	in.setPolicy(t, second+"servces: {}\n", "error")
	stale(1)
	host("bad", "second.example.net")
	in.setPolicy(t, second, "ok") // the same as before the bad one
	stale(0)
	in.setPolicy(t, "", "error")
	stale(1)
	in.setPolicy(t, policyText, "ok")
	stale(0)
	host("third", "api.example.net")

	// Gone, and back with the same content.
	if err := os.Rename(in.policy, in.policy+".away"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		for i := range in.sixgate.Replicas {
			if in.metric(t, i, "sixgate_policy_stale") != 1 {
				return fmt.Errorf("replica %d has not missed the policy", i)
			}
		}
		return nil
	})
	host("gone", "api.example.net")
	in.setPolicy(t, policyText, "ok")
	stale(0)
}

// testRotation replaces the CA while requests run. Under failurePolicy Fail each that cannot trust a certificate is refused.
func (in *installation) testRotation(t *testing.T) {
	ns := in.namespace(t, "rotation")
	patch := func(kind, text string) {
		t.Helper()
		in.must(t, "", "patch", kind, "sixgate", "--type=json", "-p", text)
	}
	for _, kind := range []string{"mutatingwebhookconfiguration", "validatingwebhookconfiguration"} {
		patch(kind, `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Fail"}]`)
		defer patch(kind, `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`)
	}
	// The API server keeps its connections, and a wrong CA shows in new ones only: with many addresses nearly all are new.
	if out, err := exec.CommandContext(t.Context(), "ip", "-6", "route", "replace", "local", "fd00:6:7::/64", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("give this machine a whole range of addresses: %v: %s", err, out)
	}
	addresses := in.endpoints(t)
	for i := range in.sixgate.Replicas {
		slice := fmt.Sprintf("sixgate-webhook-replica-%d", i)
		setEndpoints := func(endpoints string) {
			in.must(t, "", "patch", "endpointslice", slice, "-n", "sixgate-system", "--type=merge", "-p", `{"endpoints":`+endpoints+`}`)
		}
		defer setEndpoints(in.field(t, ".endpoints", "endpointslice", slice, "-n", "sixgate-system"))
		var many []string
		for j := range 300 {
			many = append(many, fmt.Sprintf(`{"addresses":["fd00:6:7::%x"],"conditions":{"ready":true}}`, 1+i*300+j))
		}
		setEndpoints("[" + strings.Join(many, ",") + "]")
	}

	// signers are the key IDs of the CAs behind the certificates that the replicas serve.
	signers := func() (out []string) {
		for _, address := range addresses {
			c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}) // only to look at it
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(c.ConnectionState().PeerCertificates[0].AuthorityKeyId))
			c.Close()
		}
		return out
	}

	client := in.client(t)
	url := in.URL + "/api/v1/namespaces/" + ns
	stop := make(chan struct{})
	var (
		mu       sync.Mutex
		requests int
		failures []string
		workers  sync.WaitGroup
	)
	for path, object := range map[string]map[string]any{
		"/services": {"metadata": map[string]any{"generateName": "x"}, "spec": map[string]any{
			"ipFamilies": []string{"IPv4"}, "ports": []any{map[string]any{"port": 80}}}},
		"/configmaps": {"metadata": map[string]any{"generateName": "x"}},
	} {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond): // leaves the processors to the others
				}
				err := postOnce(client, url+path+"?dryRun=All", object)
				mu.Lock()
				requests++
				if err != nil {
					failures = append(failures, err.Error())
				}
				mu.Unlock()
			}
		})
	}
	before := signers()
	bundle := in.bundle(t, "mutatingwebhookconfiguration")
	in.must(t, "", "patch", "secret", "sixgate-webhook-ca", "-n", "sixgate-system", "--type=merge", "-p", `{"data":null}`)
	eventually(t, func() error {
		for i, now := range signers() {
			if now == before[i] {
				return fmt.Errorf("replica %d serves a certificate of the old CA", i)
			}
		}
		return nil
	})
	mu.Lock()
	atRotation := requests
	mu.Unlock()
	eventually(t, func() error { // some more with the new one
		mu.Lock()
		defer mu.Unlock()
		if requests < atRotation+40 {
			return fmt.Errorf("%d requests since the rotation", requests-atRotation)
		}
		return nil
	})
	close(stop)
	workers.Wait()
	if now := signers(); now[0] != now[1] {
		t.Error("the replicas have CAs of their own")
	}
	if in.bundle(t, "mutatingwebhookconfiguration") == bundle || in.bundle(t, "validatingwebhookconfiguration") == bundle {
		t.Error("the registrations have the old bundle")
	}
	t.Logf("%d requests, %d of them after the rotation", requests, requests-atRotation)
	if len(failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", len(failures), requests, failures[0])
	}
}

// postOnce creates an object and returns why that failed.
func postOnce(c *http.Client, url string, object any) error {
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	resp, err := c.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var status struct{ Message string }
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return errors.New(resp.Status + ": " + status.Message)
	}
	return nil
}

// testStopped: without Sixgate all requests go through, and the API server's own answers are the last word.
func (in *installation) testStopped(t *testing.T) {
	ns := in.namespace(t, "stopped")
	in.must(t, service(ns, "before", "ipFamilies: [IPv4]"), "create", "-f", "-")
	for i := range in.sixgate.Replicas {
		if err := in.sixgate.Stop(i); err != nil {
			t.Fatal(err)
		}
	}
	in.must(t, service(ns, "fine", "type: ClusterIP"), "create", "-f", "-")
	in.must(t, pod(ns, "fine", ", ports: [{containerPort: 80, hostPort: 80, hostIP: 127.0.0.1}]"), "create", "-f", "-")
	in.expect(t, "", ".spec.containers[0].env", "pod", "fine", "-n", ns)
	in.must(t, "", "label", "service", "before", "-n", ns, "a=b")
	r := in.run(t, service(ns, "ipv4", "ipFamilies: [IPv4]"), "create", "-f", "-")
	contains(t, r.err, `spec.ipFamilies[0]: Invalid value: "IPv4": not configured on this cluster`)

	for i := range in.sixgate.Replicas {
		if err := in.sixgate.Start(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.sixgate.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	in.must(t, service(ns, "ipv4", "ipFamilies: [IPv4]"), "create", "-f", "-")
	in.must(t, pod(ns, "fine", ", ports: [{containerPort: 80, hostPort: 80, hostIP: 127.0.0.1}]"), "apply", "-f", "-") // it was there before
	if r := in.run(t, pod(ns, "new", ", ports: [{containerPort: 80, hostPort: 80, hostIP: 127.0.0.1}]"), "apply", "-f", "-"); r.code == 0 {
		t.Error("an IPv4 host port was accepted")
	}
}

// testReadiness: a replica is not ready, and says why, until API servers can trust it.
func (in *installation) testReadiness(t *testing.T) {
	in.must(t, "", "delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration", "sixgate")
	if err := errors.Join(in.sixgate.Stop(0), in.sixgate.Start(0)); err != nil {
		t.Fatal(err)
	}
	r := in.sixgate.Replicas[0]
	eventually(t, func() error {
		body, code, err := cluster.Get(t.Context(), r.Health+"/readyz?verbose")
		if err != nil {
			return err
		}
		for _, want := range []string{"[-]certificates failed", "[+]families ok"} {
			if code != http.StatusInternalServerError || !strings.Contains(body, want) {
				return fmt.Errorf("%q is not in %d: %s", want, code, body)
			}
		}
		return nil
	})
	if body, code, err := cluster.Get(t.Context(), r.Health+"/healthz"); err != nil || code != http.StatusOK {
		t.Errorf("not alive: %d %s %v", code, body, err)
	}
	eventually(t, func() error {
		log, err := os.ReadFile(r.Log)
		if err != nil {
			return err
		}
		const want = "MutatingWebhookConfiguration sixgate, ValidatingWebhookConfiguration sixgate: not found; apply config/webhook"
		if !bytes.Contains(log, []byte(want)) {
			return fmt.Errorf("%q is not in the log: %s", want, log)
		}
		return nil
	})
	measured := func(open, trusted float64) {
		t.Helper()
		eventually(t, func() error {
			for i := range in.sixgate.Replicas {
				if a, b := in.metric(t, i, "sixgate_registration_fail_open"), in.metric(t, i, "sixgate_registration_trusted"); a != open || b != trusted {
					return fmt.Errorf("replica %d: %v fail open, %v trusted", i, a, b)
				}
			}
			return nil
		})
	}
	measured(0, 0)
	in.applyConfig(t)
	if err := in.sixgate.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	in.must(t, "", "patch", "validatingwebhookconfiguration", "sixgate", "--type=json", "-p", `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Fail"}]`)
	measured(1, 2) // mutate alone fails open
	in.must(t, "", "patch", "validatingwebhookconfiguration", "sixgate", "--type=json", "-p", `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`)
	ns := in.namespace(t, "readiness")
	in.must(t, service(ns, "ipv4", "ipFamilies: [IPv4]"), "create", "-f", "-")
}

func (in *installation) applyConfig(t *testing.T) result {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	return in.must(t, "", "apply", "-k", filepath.Join(root, "config/webhook"))
}

// testInstallAgain: applying the manifests again takes nothing away, and brings back a Secret that was deleted.
func (in *installation) testInstallAgain(t *testing.T) {
	state := func() string {
		var out strings.Builder
		for _, kind := range []string{"mutatingwebhookconfiguration", "validatingwebhookconfiguration"} {
			bundle := in.bundle(t, kind)
			if bundle == "" {
				t.Errorf("%s has no CA", kind)
			}
			// The generation tells whether it was gone for a moment.
			out.WriteString(in.field(t, ".metadata.generation", kind, "sixgate") + bundle)
		}
		return out.String() + in.field(t, ".data", "secret", "sixgate-webhook-ca", "-n", "sixgate-system")
	}
	before := state()
	for range 2 {
		in.applyConfig(t)
		if now := state(); now != before {
			t.Errorf("applied again: %.200s\nbefore: %.200s", now, before)
		}
	}
	in.must(t, "", "delete", "secret", "sixgate-webhook-ca", "-n", "sixgate-system")
	in.applyConfig(t)
	eventually(t, func() error {
		if in.field(t, `.data.tls\.crt`, "secret", "sixgate-webhook-ca", "-n", "sixgate-system") == "" {
			return errors.New("the Secret is empty")
		}
		return nil
	})
	if err := in.sixgate.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	ns := in.namespace(t, "again")
	in.must(t, service(ns, "ipv4", "ipFamilies: [IPv4]"), "create", "-f", "-")
}
