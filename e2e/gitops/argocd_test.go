//go:build e2e

package gitops

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// application is the file of an Application: of testdata, or of docs/gitops.md, so that what people copy is what is tested.
func application(t *testing.T, name string) string {
	t.Helper()
	if file := "testdata/" + name + ".yaml"; fileExists(file) {
		return file
	}
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs/gitops.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		if strings.Contains(block, "kind: Application\n") && strings.Contains(block, "name: "+name+"\n") {
			file := filepath.Join(t.TempDir(), name+".yaml")
			if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
				t.Fatal(err)
			}
			return file
		}
	}
	t.Fatalf("docs/gitops.md has no Application %s", name)
	return ""
}

func fileExists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// A comparison is what Argo CD says of an object.
type comparison struct {
	OutOfSync       bool
	Predicted, Live any
}

// different are the paths at which the two sides differ.
func (c comparison) different() []string {
	var out []string
	var walk func(path string, a, b any)
	walk = func(path string, a, b any) {
		if reflect.DeepEqual(a, b) {
			return
		}
		switch x := a.(type) {
		case map[string]any:
			if y, ok := b.(map[string]any); ok {
				for key := range x {
					walk(path+"/"+key, x[key], y[key])
				}
				for key := range y {
					if _, ok := x[key]; !ok {
						walk(path+"/"+key, nil, y[key])
					}
				}
				return
			}
		case []any:
			if y, ok := b.([]any); ok {
				for i := range max(len(x), len(y)) {
					var xi, yi any
					if i < len(x) {
						xi = x[i]
					}
					if i < len(y) {
						yi = y[i]
					}
					walk(fmt.Sprintf("%s/%d", path, i), xi, yi)
				}
				return
			}
		}
		out = append(out, path)
	}
	walk("", c.Predicted, c.Live)
	sort.Strings(out)
	return out
}

func (e *environment) compare(t *testing.T, argocd, manifest, application string) comparison {
	t.Helper()
	var c comparison
	if err := json.Unmarshal([]byte(e.tool(t, argocd, manifest, "-application="+application, "diff")), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestArgoCD: by default Argo CD shows what the webhook has changed, and syncing again and again changes nothing that is stored; with
// each of the documented options it shows nothing.
func TestArgoCD(t *testing.T) {
	e := start(t)
	argocd, err := cluster.FindArgoCD(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	for _, client := range []struct {
		sync     string // the Application by which objects are synced
		compares []string
	}{
		{"client-side", []string{"ignore", "server-side-diff", "with-webhooks"}},
		{"server-side", []string{"server-side-diff", "with-webhooks"}},
	} {
		sync := application(t, client.sync)
		for _, o := range objects {
			t.Run(client.sync+"/"+o.name, func(t *testing.T) {
				e.tool(t, argocd, o.manifest, "-application="+sync, "sync")
				defer e.must(t, "", "delete", o.kind, o.name, "-n", "shop", "--now")
				c := e.compare(t, argocd, o.manifest, sync)
				if got := c.different(); c.OutOfSync != (len(o.changed) > 0) || !slices.Equal(got, o.changed) {
					t.Errorf("default: out of sync: %t, at %v, want %v", c.OutOfSync, got, o.changed)
				}
				for _, name := range client.compares {
					c := e.compare(t, argocd, o.manifest, application(t, name))
					if c.OutOfSync {
						t.Errorf("%s: out of sync at %v", name, c.different())
					}
				}
				// The webhook is no manager: what it changes belongs to who applied, what it removes to nobody.
				if c := e.compare(t, argocd, o.manifest, application(t, "managers")); c.OutOfSync != (o.kind == "pod") {
					t.Errorf("by managers: out of sync: %t at %v", c.OutOfSync, c.different())
				}
				before := e.version(t, o.kind, o.name)
				for range 3 {
					e.tool(t, argocd, o.manifest, "-application="+sync, "sync")
				}
				if now := e.version(t, o.kind, o.name); now != before {
					t.Errorf("syncing again has written: %s, before %s", now, before)
				}
			})
		}
	}
}
