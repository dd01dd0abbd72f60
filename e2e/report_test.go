//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

	for _, tt := range []struct{ format, crds, namespaced, cluster string }{
		{"openreports", openReports, "reports.openreports.io", "clusterreports.openreports.io"},
		{"policyreport", filepath.Join("testdata", "crd"), "policyreports.wgpolicyk8s.io", "clusterpolicyreports.wgpolicyk8s.io"},
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
			cmd := exec.CommandContext(context.Background(), program, "audit", "-o", tt.format, "-")
			cmd.Stdin = bytes.NewReader(manifests.Bytes())
			reports, err := cmd.Output()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Fatalf("%v", err)
			}
			eventually(t, func() error { // discovery lags behind
				if r := in.run(t, string(reports), "apply", "--validate=strict", "-f", "-"); r.code != 0 {
					return fmt.Errorf("apply: %s", r.err)
				}
				return nil
			})
			// Again: nothing changes, not even on the server.
			if again := in.must(t, string(reports), "apply", "--validate=strict", "-f", "-"); strings.Contains(again.out, "configured") {
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
		})
	}
}
