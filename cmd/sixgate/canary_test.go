package main

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sixgate/sixgate/pkg/report"
)

// canary is what must not leave a Secret; it stands where rules look.
const canary = "CANARY-7f3a9c"

// secretWithCanary is broken for IPv6-only in each way that a rule of Secrets sees.
func secretWithCanary() string {
	conf := "server {\n  listen 80; # " + canary + "\n  server_name " + canary + ".example.net;\n}\n"
	return `apiVersion: v1
kind: Secret
metadata: {name: nginx, namespace: shop}
stringData:
  default.conf: |
` + indent(conf) + `  redis.conf: |
    bind 127.0.0.1 ` + canary + `
    requirepass ` + canary + `
  DATABASE_URL: postgres://admin:` + canary + `@10.0.0.1:5432/x
  broken.yaml: "` + canary + `: [ {"
data:
  my.cnf: ` + base64.StdEncoding.EncodeToString([]byte("[mysqld]\nbind-address = 0.0.0.0\npassword = "+canary+"\n")) + `
  nginx.conf: ` + base64.StdEncoding.EncodeToString([]byte("http {\n"+conf+"}\n")) + `
`
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + line)
	}
	return b.String()
}

// TestSecretCanary: nothing of a Secret's values is in any report, message, diff of others or error, also where the policy looks at Secrets.
func TestSecretCanary(t *testing.T) {
	dir := t.TempDir()
	file, policy := filepath.Join(dir, "secret.yaml"), filepath.Join(dir, "policy.yaml")
	writeTo(t, policy, "apiVersion: sixgate.io/v1alpha1\nkind: Policy\nsecrets: true\n", 0o600)
	encoded := base64.StdEncoding.EncodeToString([]byte(canary))
	look := func(what string, data []byte) {
		t.Helper()
		for _, bad := range []string{canary, encoded[:8], strings.ToLower(canary)} {
			if i := bytes.Index(data, []byte(bad)); i >= 0 {
				t.Errorf("%s: %q", what, data[max(i-120, 0):min(i+40, len(data))])
			}
		}
	}
	for _, text := range []string{secretWithCanary(), strings.Replace(secretWithCanary(), "kind: Secret", "kind: Secret\nkind: Secret", 1), secretWithCanary() + "  \tbroken: [\n"} {
		writeTo(t, file, text, 0o600)
		findings := 0
		for _, format := range report.Formats() {
			var out, errs bytes.Buffer
			code := run(t.Context(), []string{"sixgate", "audit", "--policy", policy, "-o", format, file}, nil, &out, &errs)
			if code == exitFindings || strings.Contains(out.String(), "listen-") {
				findings++
			}
			look("audit -o "+format, append(out.Bytes(), errs.Bytes()...))
		}
		if findings == 0 && text == secretWithCanary() {
			t.Error("no rule looks at the Secret: this test tests nothing")
		}
		for _, args := range [][]string{{"fix", "--dry-run"}, {"explain"}, {"audit", "--write-baseline", filepath.Join(dir, "baseline.yaml")}} {
			var out, errs bytes.Buffer
			args = append(append([]string{"sixgate"}, args...), "--policy", policy, file)
			if args[1] == "explain" {
				args = append([]string{"sixgate", "explain", "--policy", policy}, file)
			}
			run(t.Context(), args, nil, &out, &errs)
			look(strings.Join(args[1:3], " "), append(out.Bytes(), errs.Bytes()...))
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, "baseline.yaml")); err == nil {
		look("baseline", data)
	} else {
		t.Error(err)
	}
}
