package main

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/openapi"

	"github.com/sixgate/sixgate/pkg/rules"
)

// podShapes are in the schema of a kind that may have a pod somewhere in it.
var podShapes = [][]byte{
	[]byte(`"containers":`), []byte(`"initContainers":`), []byte(`"hostAliases":`), []byte(`"dnsConfig":`),
	[]byte(`"x-kubernetes-preserve-unknown-fields":true`),
}

// custom are the kinds of custom resources that may have pods in them, by the schemas that the API server publishes, which everybody
// may read. Without them no object of other kinds need be listed, of which there may be many.
func custom(ctx context.Context, client openapi.Client, lists []*metav1.APIResourceList) []rules.Target {
	seen := map[string]bool{}
	var out []rules.Target
	paths, err := client.Paths()
	if err != nil {
		return nil // an API server that publishes none, as some aggregated ones
	}
	for _, l := range lists { // the version that the API server prefers comes first
		group, version, ok := cutVersion(l.GroupVersion)
		if !ok || !rules.MayEmbed(group) || paths["apis/"+l.GroupVersion] == nil || ctx.Err() != nil {
			continue
		}
		var kinds map[string]bool
		for _, r := range l.APIResources {
			t := rules.Target{Group: group, Version: version, Resource: r.Name, Kind: r.Kind, Cluster: !r.Namespaced}
			if strings.Contains(r.Name, "/") || !slices.Contains(r.Verbs, "list") || seen[resourceName(t)] {
				continue
			}
			if kinds == nil {
				schema, err := paths["apis/"+l.GroupVersion].Schema("application/json")
				if err != nil {
					break // as when the API server behind it is away: it cannot be listed either
				}
				kinds = kindsWithPods(schema)
			}
			seen[resourceName(t)] = true
			if kinds[r.Kind] {
				out = append(out, t)
			}
		}
	}
	return out
}

// kindsWithPods reads an OpenAPI v3 document of one group and version. Schemas of CRDs are whole; where one refers to others of the
// document, as those of aggregated API servers do, all of it counts.
func kindsWithPods(document []byte) map[string]bool {
	var doc struct {
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if json.Unmarshal(document, &doc) != nil {
		return nil
	}
	hasPod := func(schema []byte) bool {
		return slices.ContainsFunc(podShapes, func(s []byte) bool { return bytes.Contains(schema, s) })
	}
	out := map[string]bool{}
	for _, schema := range doc.Components.Schemas {
		var head struct {
			Kinds      []struct{ Kind string }                      `json:"x-kubernetes-group-version-kind"`
			Properties map[string]struct{ AllOf []json.RawMessage } `json:"properties"`
		}
		if json.Unmarshal(schema, &head) != nil || len(head.Kinds) == 0 {
			continue
		}
		_, isObject := head.Properties["metadata"]
		if isObject && (hasPod(schema) || len(head.Properties["spec"].AllOf) > 0 && hasPod(document)) {
			out[head.Kinds[0].Kind] = true
		}
	}
	return out
}
