//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/e2e/cluster"
	"github.com/sixgate/sixgate/pkg/rules"
)

// client returns an HTTP client of the administrator: faster than kubectl where there is much to send.
func (in *installation) client(t *testing.T) *http.Client {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", in.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// create sends one object and returns the status and what was said.
func create(t *testing.T, c *http.Client, url string, object any) (code int, message string) {
	t.Helper()
	body, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var status struct{ Message string }
	if err := json.Unmarshal(answer, &status); err != nil {
		t.Fatalf("%s: %s", resp.Status, answer)
	}
	return resp.StatusCode, status.Message
}

// TestConditions: no selector and no condition of the registrations keeps an object away on which a rule fires.
//
// The dual-stack cluster is the one on which nobody else makes requests that would be counted too.
func TestConditions(t *testing.T) {
	in := get(t, dualStack)
	c := in.client(t)
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "pkg/rules/testdata/*/*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	byID := map[string]*rules.Rule{}
	for _, r := range rules.All() {
		byID[r.ID] = r
	}
	reached, refused := 0, 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := map[string]string{}
		for _, f := range archive.Files {
			text[f.Name] = string(f.Data)
		}
		rule := byID[filepath.Base(filepath.Dir(file))]
		name := rule.ID + "/" + filepath.Base(file)
		if text["findings"] == "" || text["subresource"] != "" { // TestPodDebug has the subresource
			continue
		}
		var object map[string]any
		if err := yaml.Unmarshal([]byte(text["in.yaml"]), &object); err != nil {
			t.Fatal(err)
		}
		group, version, _ := strings.Cut(fmt.Sprint(object["apiVersion"]), "/")
		if version == "" {
			group, version = "", group
		}
		var target *rules.Target
		for i := range rule.Targets {
			if rule.Targets[i].Group == group && rule.Targets[i].Kind == object["kind"] {
				target = &rule.Targets[i]
			}
		}
		if target != nil && target.AuditOnly { // not registered
			continue
		}
		if target == nil || version != target.Version {
			t.Errorf("%s: %v %v is no target of the rule", name, object["apiVersion"], object["kind"])
			continue
		}
		if target.Group == "helm.cattle.io" {
			t.Logf("%s: not sent, this API server has no CustomResourceDefinition of K3s", name)
			continue
		}
		if target.Asked { // not registered unless somebody asks for it
			continue
		}
		url := in.URL + "/apis/" + group + "/" + version
		if group == "" {
			url = in.URL + "/api/" + version
		}
		if !target.Cluster {
			metadata, _ := object["metadata"].(map[string]any)
			namespace, _ := metadata["namespace"].(string)
			if namespace == "" {
				namespace = "default"
			}
			code, message := create(t, c, in.URL+"/api/v1/namespaces", map[string]any{"metadata": map[string]any{"name": namespace}})
			if code != http.StatusCreated && code != http.StatusConflict {
				t.Fatal(message)
			}
			url += "/namespaces/" + namespace
		}
		webhook := "validate"
		if rule.Mutate && target.Leaf {
			webhook = "mutate"
		}
		count := func() float64 {
			return in.metric(t, 0, "sixgate_requests_total", fmt.Sprintf("webhook=%q", webhook), fmt.Sprintf("kind=%q", target.Kind))
		}
		before := count()
		code, message := create(t, c, url+"/"+target.Resource+"?dryRun=All", object)
		switch {
		case count() > before:
			reached++
		case code >= 400 && code < 500 && !strings.Contains(message, "admission webhook"):
			refused++
			t.Logf("%s: the API server itself says %d: %s", name, code, message)
		default:
			t.Errorf("%s: %s was not asked, the API server says %d: %s", name, webhook, code, message)
		}
	}
	t.Logf("%d cases reached Sixgate, %d were refused before", reached, refused)
	if reached < 5*refused {
		t.Error("too few cases reach Sixgate")
	}
}
