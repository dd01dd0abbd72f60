package export

import (
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/pkg/rules"
)

// FuzzPolicies: every policy that is read can be written as admission policies, whose YAML is read again.
func FuzzPolicies(f *testing.F) {
	const head = "apiVersion: sixgate.io/v1alpha1\nkind: Policy\n"
	f.Add(head)
	f.Add(head + "cluster: {families: [IPv6], dns: {namespace: \"a'b\", service: \"c\\\"d\", address: \"fd00::a\", resolvers: [\"fd00::b\"]}}\nexclude: {namespaces: [\"a*'\"], objects: [\"a/Pod/*\"]}\n")
	f.Add(head + "apiServer: {host: \"a'+'b.example\", port: 6443}\nservices: {headless: [\"legacy-*/db-*\", \"'/'\"]}\nexceptions: [{rule: listen-nginx, objects: [\"shop/ConfigMap/'\\\\\"], owner: web, reason: \"'\", until: 2027-03-01}]\n")
	f.Add(head + "pools: [{namespaces: [\"\\\\\"], ipv6Pools: [\"2001:db8:42::/64\"]}]\nmode: audit\nenforceNamespaces: [\"'\", \"*\"]\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := rules.ReadPolicy([]byte(text))
		if err != nil {
			return
		}
		if p.Cluster.Families == nil {
			p.Cluster.Families = []string{"IPv6"}
		}
		for _, o := range Policies(rules.NewSet(p), nil, nil).Objects {
			data, err := yaml.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			var again map[string]any
			if err := yaml.Unmarshal(data, &again); err != nil || again["kind"] == nil {
				t.Errorf("%v\n%s", err, data)
			}
		}
	})
}
