package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/pkg/rules"
)

const chartFolder = "charts/sixgate/"

//go:embed chart.md
var chartPage string

// chartFiles are the files of the Helm chart that follow from the rules and from the type of its values.
func chartFiles() (map[string][]byte, error) {
	files := map[string][]byte{}
	var err error
	if files[chartFolder+"values.yaml"], err = valuesFile(); err != nil {
		return nil, err
	}
	if files[chartFolder+"values.schema.json"], err = valuesSchema(); err != nil {
		return nil, err
	}
	table, err := valuesTable()
	if err != nil {
		return nil, err
	}
	files[chartFolder+"README.md"] = []byte("<!-- Generated from tools/generate by `make generate`; do not edit. -->\n" + chartPage + string(table))
	files[chartFolder+"templates/_generated.tpl"], err = definitions()
	return files, err
}

// definitions are named templates: what the registrations ask about, and what the ServiceAccounts may do.
func definitions() ([]byte, error) {
	mutating, validating := targets()
	configMaps := func(resource string) []admissionregistrationv1.RuleWithOperations {
		return operations([]rules.Target{{Version: "v1", Resource: resource, Operations: []rules.Operation{rules.Create, rules.Update}}})
	}
	deleting := admissionregistrationv1.MatchCondition{Name: "not-being-deleted", Expression: "!has(object.metadata.deletionTimestamp)"}
	b := bytes.NewBufferString("{{- /* Generated from pkg/rules by `make generate`; do not edit. */ -}}\n")
	for _, d := range []struct {
		name string
		data any
	}{
		{"mutate.rules", operations(mutating)},
		{"validate.rules", operations(validating)},
		{"mutate.conditions", conditions()},
		{"validate.conditions", append(conditions(), deleting)},
		{"secrets.rule", configMaps("secrets")},
		{"configmaps.rule", configMaps("configmaps")},
		{"repairsConfigMaps", repairsConfigMaps()},
		{"rbac.cluster", []rbacv1.PolicyRule{
			// The families of the cluster's Services; Service default/kubernetes where there is no such ServiceCIDR.
			{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"servicecidrs"}, ResourceNames: []string{"kubernetes"}, Verbs: []string{"get"}},
			{APIGroups: []string{""}, Resources: []string{"services"}, ResourceNames: []string{"kubernetes"}, Verbs: []string{"get"}},
		}},
		{"rbac.events", []rbacv1.PolicyRule{{APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}}}},
		{"rbac.audit", auditRights()},
		{"rbac.reports", reportRights()},
		{"rbac.registrations", []rbacv1.PolicyRule{{
			APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"},
			ResourceNames: []string{"sixgate"}, Verbs: []string{"get", "patch"},
		}}},
		{"rbac.namespace", []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"sixgate-webhook-ca"}, Verbs: []string{"get", "update"}},
		}},
		{"rbac.check", []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"create"}}}},
	} {
		text, err := sigsyaml.Marshal(d.data)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", d.name, err)
		}
		fmt.Fprintf(b, "\n{{- define \"sixgate.%s\" -}}\n%s{{- end }}\n", d.name, text)
	}
	return b.Bytes(), nil
}

// loadChart reads the chart below root, with files in place of those that are there.
func loadChart(root fs.FS, files map[string][]byte) (*chart.Chart, error) {
	var all []*loader.BufferedFile
	seen := map[string]bool{}
	for name, data := range files {
		if rest, ok := strings.CutPrefix(name, chartFolder); ok {
			seen[rest] = true
			all = append(all, &loader.BufferedFile{Name: rest, Data: data})
		}
	}
	folder := path.Clean(chartFolder)
	err := fs.WalkDir(root, folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rest := strings.TrimPrefix(name, chartFolder)
		if seen[rest] {
			return nil
		}
		data, err := fs.ReadFile(root, name)
		all = append(all, &loader.BufferedFile{Name: rest, Data: data})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read chart: %w", err)
	}
	return loader.LoadFiles(all)
}

// renderChart gives the templates of a chart as `helm template` does, by their paths below templates.
func renderChart(c *chart.Chart, given map[string]any) (map[string]string, error) {
	v, err := chartutil.ToRenderValues(c, given, chartutil.ReleaseOptions{
		Name: "sixgate", Namespace: "sixgate-system", Revision: 1, IsInstall: true,
	}, nil)
	if err != nil {
		return nil, err
	}
	rendered, err := engine.Render(c, v)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name, text := range rendered {
		out[strings.TrimPrefix(name, c.Name()+"/templates/")] = text
	}
	return out, nil
}

// kustomizeFiles are the manifests of config/webhook: the chart with its default values, without Helm's own labels.
func kustomizeFiles(root fs.FS, files map[string][]byte) (map[string][]byte, error) {
	c, err := loadChart(root, files)
	if err != nil {
		return nil, err
	}
	rendered, err := renderChart(c, map[string]any{})
	if err != nil {
		return nil, fmt.Errorf("render chart: %w", err)
	}
	out := map[string][]byte{}
	for _, name := range []string{"rbac.yaml", "service.yaml", "deployment.yaml", "availability.yaml", "networkpolicy.yaml", "registrations.yaml"} {
		if out["config/webhook/"+name], err = manifest(rendered[name]); err != nil {
			return nil, fmt.Errorf("encode %s: %w", name, err)
		}
	}
	// Components are the same with one value set.
	for name, given := range map[string]map[string]any{
		"audit": {"audit": map[string]any{"enabled": true}},
	} {
		if rendered, err = renderChart(c, given); err != nil {
			return nil, fmt.Errorf("render chart: %w", err)
		}
		folder := "config/webhook/components/" + name + "/"
		if out[folder+name+".yaml"], err = manifest(rendered[name+".yaml"]); err != nil {
			return nil, fmt.Errorf("encode %s: %w", name, err)
		}
		out[folder+"kustomization.yaml"] = []byte(manifestHeader + "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [" + name + ".yaml]\n")
	}
	return out, nil
}

const manifestHeader = "# Generated from charts/sixgate by `make generate`; do not edit.\n"

// manifest is what the chart renders, without Helm's own labels.
func manifest(rendered string) ([]byte, error) {
	b := bytes.NewBufferString(manifestHeader)
	dec := yaml.NewDecoder(strings.NewReader(rendered))
	for {
		var doc yaml.Node
		if dec.Decode(&doc) != nil { // the engine has read it: it ends
			return b.Bytes(), nil
		}
		dropLabels(&doc)
		b.WriteString("---\n")
		e := yaml.NewEncoder(b)
		e.SetIndent(2)
		e.CompactSeqIndent()
		if err := e.Encode(&doc); err != nil {
			return nil, err
		}
	}
}

// dropLabels removes the labels that are Helm's, in metadata of the object.
func dropLabels(doc *yaml.Node) {
	n := field(field(doc.Content[0], "metadata"), "labels")
	var kept []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch n.Content[i].Value {
		case "app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart", "app.kubernetes.io/version":
		default:
			kept = append(kept, n.Content[i], n.Content[i+1])
		}
	}
	n.Content = kept
}

// field is the value of a key of a mapping; an empty node where there is none.
func field(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return &yaml.Node{}
}

// repository is the root of the repository, where the command runs or two folders above its test.
func repository() fs.FS { return os.DirFS(rootFolder()) }

func rootFolder() string {
	if _, err := os.Stat(chartFolder); err == nil {
		return "."
	}
	return "../.."
}
