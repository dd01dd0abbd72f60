//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPolicyReports applies the reports of an audit to a real API server with the real CustomResourceDefinitions, strictly: no
// field may be unknown, and what is stored is what was written.
func TestPolicyReports(t *testing.T) {
	in := get(t, withoutSixgate)
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/openreports/reports-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	openReports := filepath.Join(strings.TrimSpace(string(module)), "config", "crd")
	program := filepath.Join(t.TempDir(), "sixgate")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/sixgate").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// 900 Services, of which one namespace has more than fit into one report, and one object without namespace.
	namespace := in.namespace(t, "reports")
	var manifests bytes.Buffer
	for i := range 900 {
		fmt.Fprintf(&manifests, "---\napiVersion: v1\nkind: Service\nmetadata: {name: a%d, namespace: %s}\nspec: {ipFamilies: [IPv4], ports: [{port: 80}]}\n", i, namespace)
	}
	fmt.Fprintf(&manifests, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a, annotations: {sixgate.io/ignore.listen-nginx: ''}}\n")

	for _, tt := range []struct{ format, crds, version, kind, namespaced, cluster string }{
		{"openreports", openReports, "openreports.io/v1alpha1", "Report", "reports.openreports.io", "clusterreports.openreports.io"},
		{"policyreport", filepath.Join("testdata", "crd"), "wgpolicyk8s.io/v1alpha2", "PolicyReport", "policyreports.wgpolicyk8s.io", "clusterpolicyreports.wgpolicyk8s.io"},
	} {
		t.Run(tt.format, func(t *testing.T) {
			crds, err := filepath.Glob(filepath.Join(tt.crds, "*.yaml"))
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
			in.must(t, "", "wait", "--for=condition=Established", "--timeout=2m", "crd", tt.namespaced, tt.cluster)
			audit := func(manifests string) string {
				t.Helper()
				cmd := exec.CommandContext(context.Background(), program, "audit", "--fail-on", "none", "-o", tt.format, "-")
				cmd.Stdin = strings.NewReader(manifests)
				reports, err := cmd.Output()
				if err != nil {
					t.Fatal(err)
				}
				return string(reports)
			}
			// As docs/audit.md has it.
			apply := []string{"apply", "--validate=strict", "--prune", "-l", "app.kubernetes.io/managed-by=sixgate",
				"--prune-allowlist=" + tt.version + "/" + tt.kind, "--prune-allowlist=" + tt.version + "/Cluster" + tt.kind, "-f", "-"}
			reports := audit(manifests.String())
			eventually(t, func() error { // discovery lags behind
				if r := in.run(t, reports, apply...); r.code != 0 {
					return fmt.Errorf("apply: %s", r.err)
				}
				return nil
			})
			// Again: nothing changes, not even on the server.
			if again := in.must(t, reports, apply...); strings.Contains(again.out, "configured") {
				t.Errorf("applied again: %s", again.out)
			}
			var stored struct {
				Items []struct {
					Summary struct{ Fail, Warn, Skip, Pass int }
					Results []struct {
						Rule, Result, Severity, Message string
						Resources                       []struct{ Name string }
					}
				}
			}
			if err := json.Unmarshal([]byte(in.must(t, "", "get", tt.namespaced, "-n", namespace, "-o", "json").out), &stored); err != nil {
				t.Fatal(err)
			}
			results := 0
			for _, item := range stored.Items {
				results += len(item.Results)
				if item.Summary.Fail != len(item.Results) {
					t.Errorf("%d results, %+v", len(item.Results), item.Summary)
				}
			}
			if results != 900 || len(stored.Items) < 2 {
				t.Errorf("%d results in %d reports", results, len(stored.Items))
			}
			if err := json.Unmarshal([]byte(in.must(t, "", "get", tt.cluster, "-o", "json").out), &stored); err != nil {
				t.Fatal(err)
			}
			if len(stored.Items) != 1 || len(stored.Items[0].Results) != 1 || stored.Items[0].Results[0].Result != "warn" {
				t.Errorf("cluster-wide: %+v", stored.Items)
			}
			// Repaired: the report says so, and the second one is gone.
			in.must(t, audit("apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: "+namespace+"}\nspec: {ports: [{port: 80}]}\n"), apply...)
			got := in.must(t, "", "get", tt.namespaced, "-n", namespace, "-o", "jsonpath={range .items[*]}{.metadata.name} {.summary.pass} {.summary.fail} {.results}{end}").out
			if got != "sixgate-1 1 0 " {
				t.Errorf("after the repair: %q", got)
			}
		})
	}
}
