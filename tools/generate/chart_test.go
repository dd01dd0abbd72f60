package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"helm.sh/helm/v3/pkg/chart"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/pkg/rules"
)

var update = flag.Bool("update", false, "write testdata/chart/*.golden")

func committed(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loadChart(repository(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := sigsyaml.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestGolden: what the chart renders, each policy in it read as the webhook reads it. The default values are config/webhook.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/chart/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		given, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		rendered, err := renderChart(committed(t), parse(t, string(given)))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		var got bytes.Buffer
		for _, name := range slices.Sorted(maps.Keys(rendered)) {
			if text := strings.TrimSpace(rendered[name]); text != "" && !strings.HasPrefix(name, "_") {
				got.WriteString("-- " + name + " --\n" + text + "\n")
			}
		}
		golden := strings.TrimSuffix(file, ".yaml") + ".golden"
		if *update {
			if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || !bytes.Equal(want, got.Bytes()) {
			t.Errorf("%s is not what the chart renders (%v); run go test ./tools/generate -update and read the difference", golden, err)
		}
		policy := parse(t, rendered["policy.yaml"])["data"].(map[string]any)["policy.yaml"].(string)
		if _, err := rules.ReadPolicy([]byte(policy)); err != nil {
			t.Errorf("%s: %v in the policy:\n%s", file, err, policy)
		}
	}
}

// TestCertManager: the objects for cert-manager are what its types take, and name one another.
func TestCertManager(t *testing.T) {
	rendered, err := renderChart(committed(t), parse(t, "certificates: {mode: cert-manager}"))
	if err != nil {
		t.Fatal(err)
	}
	made, issuers := map[string]bool{}, map[string]bool{}
	for _, doc := range strings.Split(rendered["certificate.yaml"], "\n---\n") {
		switch parse(t, doc)["kind"] {
		case "Certificate":
			var c cmapi.Certificate
			if err := sigsyaml.UnmarshalStrict([]byte(doc), &c); err != nil {
				t.Error(err)
			}
			// A CA that keeps its key is renewed without loss (docs/operations.md).
			if (c.Spec.PrivateKey.RotationPolicy == cmapi.RotationPolicyNever) != c.Spec.IsCA {
				t.Errorf("%s: rotationPolicy %s", c.Name, c.Spec.PrivateKey.RotationPolicy)
			}
			if made[c.Spec.SecretName] = true; !issuers[c.Spec.IssuerRef.Name] {
				t.Errorf("%s has no issuer", c.Name)
			}
		case "Issuer":
			var i cmapi.Issuer
			if err := sigsyaml.UnmarshalStrict([]byte(doc), &i); err != nil {
				t.Error(err)
			}
			if issuers[i.Name] = true; i.Spec.CA != nil && !made[i.Spec.CA.SecretName] {
				t.Errorf("%s has no Secret", i.Name)
			}
		}
	}
	if !made["sixgate-webhook-tls"] || !strings.Contains(rendered["deployment.yaml"], "secretName: \"sixgate-webhook-tls\"") {
		t.Error("the Pods have no certificate")
	}
	if n := strings.Count(rendered["registrations.yaml"], "cert-manager.io/inject-ca-from: sixgate-system/sixgate-webhook\n"); n != 2 {
		t.Errorf("the CA goes into %d registrations", n)
	}
	if strings.Contains(rendered["rbac.yaml"], "secrets") || strings.Contains(rendered["rbac.yaml"], "admissionregistration") {
		t.Error("the webhook keeps rights that only self-managed certificates need")
	}
}

// TestMonitoring: alerts and dashboard are about metrics that docs/metrics.md has, and each of these is in the dashboard.
func TestMonitoring(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	metric := regexp.MustCompile(`\bsixgate_[a-z0-9_]+`)
	alerts, dashboard, page := read("charts/sixgate/files/alerts.yaml"), read("charts/sixgate/files/dashboard.json"), read("docs/metrics.md")
	if !json.Valid([]byte(dashboard)) {
		t.Error("the dashboard is no JSON")
	}
	for _, m := range metric.FindAllString(alerts+dashboard, -1) {
		if !strings.Contains(page, "| `"+strings.TrimSuffix(m, "_bucket")+"` |") { // a histogram
			t.Errorf("%s is not in docs/metrics.md", m)
		}
	}
	rendered, err := renderChart(committed(t), parse(t, "monitoring: {alerts: {enabled: true}, dashboard: {enabled: true}}"))
	if err != nil {
		t.Fatal(err)
	}
	rule, config, _ := strings.Cut(rendered["monitoring.yaml"], "\n---\n")
	if got := parse(t, rule)["spec"]; !reflect.DeepEqual(got, any(parse(t, alerts))) {
		t.Errorf("the PrometheusRule is not the file: %v", got)
	}
	if got := parse(t, config)["data"].(map[string]any)["sixgate.json"]; got != dashboard {
		t.Errorf("the ConfigMap is not the dashboard: %v", got)
	}
	rows := regexp.MustCompile("(?m)^\\| `(sixgate_[a-z0-9_]+)` \\|").FindAllStringSubmatch(page, -1)
	if len(rows) == 0 {
		t.Error("docs/metrics.md has no metrics")
	}
	for _, row := range rows {
		if !strings.Contains(dashboard, row[1]) {
			t.Errorf("%s is not in the dashboard", row[1])
		}
	}
}

// TestPolicyInValues: the policy that the webhook reads is the one that was meant, off included.
func TestPolicyInValues(t *testing.T) {
	const text = "policy: {services: {whenHeadlessUnsafe: off}, rules: {host-port-ipv4: off, listen-nginx: {level: off, mutate: true}}}"
	rendered, err := renderChart(committed(t), parse(t, text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := rules.ReadPolicy([]byte(parse(t, rendered["policy.yaml"])["data"].(map[string]any)["policy.yaml"].(string)))
	if err != nil {
		t.Fatal(err)
	}
	if p.Services.WhenHeadlessUnsafe != "off" || p.Rules["host-port-ipv4"].Level != rules.Off || p.Rules["listen-nginx"].Level != rules.Off || !*p.Rules["listen-nginx"].Mutate {
		t.Errorf("%+v", p)
	}
}

// TestPolicyEverywhere: each policy of the documentation and the example mean the same in values as in a file.
func TestPolicyEverywhere(t *testing.T) {
	page, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../../examples/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	tested := 0
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	for _, block := range append(blocks, []string{"", string(example)}) {
		want, err := rules.ReadPolicy([]byte(block[1]))
		if err != nil {
			continue // a part of one
		}
		tested++
		rendered, err := renderChart(committed(t), map[string]any{"policy": parse(t, block[1])})
		if err != nil {
			t.Errorf("%v:\n%s", err, block[1])
			continue
		}
		text := parse(t, rendered["policy.yaml"])["data"].(map[string]any)["policy.yaml"].(string)
		got, err := rules.ReadPolicy([]byte(text))
		if err != nil || asJSON(t, got) != asJSON(t, want) { // lines differ
			t.Errorf("%v: %+v, not %+v; of\n%s", err, got, want, text)
		}
	}
	if tested < 2 {
		t.Errorf("%d policies", tested)
	}
}

// TestRegistered: what only a policy asks about is registered where the policy does.
func TestRegistered(t *testing.T) {
	for _, c := range []struct {
		values              string
		secrets, configMaps bool
	}{
		{"{}", false, false},
		{"policy: {secrets: true}", true, false},
		{"policy: {rules: {listen-nginx: {mutate: true}}}", false, true},
		{"policy: {rules: {listen-nginx: {mutate: false}, host-port-ipv4: {mutate: true}}}", false, false},
		{"policy: |\n  {apiVersion: sixgate.io/v1alpha1, kind: Policy, secrets: true, rules: {listen-nginx: {mutate: true}}}", true, true},
	} {
		rendered, err := renderChart(committed(t), parse(t, c.values))
		if err != nil {
			t.Errorf("%s: %v", c.values, err)
			continue
		}
		mutating, validating, _ := strings.Cut(rendered["registrations.yaml"], "\n---\n")
		mutating, _, _ = strings.Cut(mutating, "mutate-check.sixgate.io")
		if strings.Contains(validating, "- secrets") != c.secrets || strings.Contains(mutating, "- configmaps") != c.configMaps {
			t.Errorf("%s: secrets %t, ConfigMaps %t:\n%s", c.values, strings.Contains(validating, "- secrets"), strings.Contains(mutating, "- configmaps"), mutating)
		}
	}
}

// TestSchema: wrong values are refused before anything is sent, by a line that names them.
func TestSchema(t *testing.T) {
	for text, want := range map[string]string{
		"replica: 2":                                            "replica",
		"replicas: two":                                         "replicas",
		"replicas: -1":                                          "replicas",
		"image: {digest: 'sha256:1'}":                           "digest",
		"image: {pullPolicy: Sometimes}":                        "pullPolicy",
		"webhooks: {mutate: {failurePolicy: fail}}":             "failurePolicy",
		"webhooks: {mutate: {timeoutSeconds: 31}}":              "timeoutSeconds",
		"webhooks: {convert: {}}":                               "convert",
		"certificates: {mode: magic}":                           "mode",
		"check: {timeout: 4}":                                   "timeout",
		"service: {ipFamilies: [IPv5]}":                         "ipFamilies",
		"networkPolicy: {egressPorts: [0]}":                     "egressPorts",
		"audit: {api: both}":                                    "api",
		"audit: {writeRate: 0}":                                 "writeRate",
		"audit: {schedule: 6}":                                  "schedule",
		"audit: {deadlineSeconds: 0}":                           "deadlineSeconds",
		"events: true":                                          "events",
		"labels: {a: 1}":                                        "labels",
		"policy: []":                                            "policy",
		"policy: {servces: {}}":                                 "policy",
		"policy: {rules: {host-port-ipv5: off}}":                "policy",
		"policy: {rules: {host-port-ipv4: loud}}":               "policy",
		"policy: {rules: {service-cluster-ip: {mutate: yes!}}}": "policy",
		"policy: {cluster: {families: [IPv5]}}":                 "policy",
		"policy: {cluster: {nodes: IPv4}}":                      "policy",
		"policy: {apiServer: {port: '6443'}}":                   "policy",
		"policy: {services: {headless: some}}":                  "policy",
	} {
		_, err := renderChart(committed(t), parse(t, text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "schema") {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		"{}", "global: {a: 1}", "podDisruptionBudget: {maxUnavailable: 50%}", "policy: {services: {headless: all}}",
		"policy: {cluster: {cni: calico, nat64: {prefix: '64:ff9b::/96'}}, pools: [{namespaces: ['*'], ipv6Pools: ['2001:db8::/64']}]}",
	} {
		if _, err := renderChart(committed(t), parse(t, text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
