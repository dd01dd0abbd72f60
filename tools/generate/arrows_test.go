package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestArrows holds the imports to the architecture: pkg/listen knows nothing of Kubernetes, only the commands know client-go, the
// server's libraries stay in cmd/webhook.
func TestArrows(t *testing.T) {
	const ours = "github.com/sixgate/sixgate/"
	cmd := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./pkg/...", "./cmd/...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	may := map[string][]string{
		"pkg/quickyaml": {},
		"pkg/order":     {},
		"pkg/listen":    {"pkg/quickyaml"},
		"pkg/sockets":   {},
		"pkg/rules":     {"pkg/listen", "pkg/quickyaml"},
		"pkg/mutate":    {"pkg/rules"},
		"pkg/validate":  {"pkg/rules"},
		"pkg/manifest":  {"pkg/rules", "pkg/quickyaml", "pkg/order"},
		"pkg/report":    {"pkg/rules", "pkg/manifest", "pkg/order"},
		"pkg/export":    {"pkg/rules"},
		"cmd/sixgate":   {"pkg/rules", "pkg/manifest", "pkg/report", "pkg/mutate", "pkg/validate", "pkg/sockets", "pkg/export", "pkg/order", "cmd/internal/live"},
		"cmd/webhook":   {"pkg/rules", "pkg/mutate", "pkg/validate", "cmd/internal/live"},

		"cmd/internal/live": {},
	}
	server := []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime", "github.com/cert-manager", "github.com/go-logr"}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(may) {
		t.Errorf("%d packages, this test knows %d", len(lines), len(may))
	}
	for _, line := range lines {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], ours)
	imports:
		for _, imp := range words[1:] {
			if rel, ok := strings.CutPrefix(imp, ours); ok {
				for _, allowed := range may[pkg] {
					if rel == allowed {
						continue imports
					}
				}
				t.Errorf("%s may not import %s", pkg, rel)
			}
			for _, lib := range server {
				if (pkg == "cmd/sixgate" || pkg == "cmd/internal/live") && lib == "k8s.io/client-go" {
					continue // they ask an API server
				}
				if pkg != "cmd/webhook" && strings.HasPrefix(imp, lib) {
					t.Errorf("%s may not import %s", pkg, imp)
				}
			}
		}
	}
}
