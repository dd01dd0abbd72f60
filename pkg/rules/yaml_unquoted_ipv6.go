package rules

import (
	"slices"
	"strings"
)

// yamlUnquotedIPv6 refuses IPv6 addresses that YAML read as a map, because nobody quoted them: "- fd00::" is {"fd00:": null}.
//
// Source: YAML 1.2, section 7.3.3 (a plain scalar ends before ": " and before ":" at the end of a line).
func yamlUnquotedIPv6() *Rule {
	targets := append([]Target{targetService, targetEndpoints, targetEndpointSlice, targetConfigMap, targetNamespace, targetPersistentVolume, targetStorageClass, targetPod}, workloads()...)
	targets = append(targets, networkPolicies()...)
	return &Rule{
		ID: "yaml-unquoted-ipv6", Since: "v0.1.0", Level: Deny,
		Title:   "IPv6 address without quotes became a map",
		CEL:     &CEL{Never: "looks everywhere in an object, and CEL cannot recurse; in its own kinds the API server refuses such a map itself"},
		Targets: targets,
		Check:   checkYAMLUnquotedIPv6,
	}
}

func checkYAMLUnquotedIPv6(req *Request) []Finding {
	if req.Object.quoted || !hasUnquoted(req.Object.Root()) {
		return nil
	}
	var out []Finding
	var at Path // one for the whole walk: it is copied where something is found
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if address, ok := unquoted(v); ok && len(at) > 0 {
				path := at.With()
				out = append(out, Finding{
					Path: path, Value: address,
					Message: quote(address) + " without quotes is a map in YAML, not an address; quote it",
					Fix:     func(o *Object) { o.Set(path, address) },
				})
				return
			}
			for _, key := range sortedKeys(v) {
				if len(at) == 1 && key == "managedFields" || len(at) == 0 && key == "status" {
					continue
				}
				at = append(at, key)
				walk(v[key])
				at = at[:len(at)-1]
			}
		case []any:
			for i, e := range v {
				at = append(at, i)
				walk(e)
				at = at[:len(at)-1]
			}
		}
	}
	walk(req.Object.Root())
	return out
}

// unquoted returns the address that a map with one empty value was meant to be.
func unquoted(m map[string]any) (string, bool) {
	if len(m) != 1 {
		return "", false
	}
	for key, value := range m {
		if value != nil || !strings.HasSuffix(key, ":") {
			return "", false
		}
		// fd00:: and :: lose their last colon, which YAML takes for the end of a key.
		if address := key + ":"; ipFamily(address) == "IPv6" {
			return address, true
		}
	}
	return "", false
}

// hasUnquoted reports whether there is one anywhere: nearly never.
func hasUnquoted(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := unquoted(v); ok {
			return true
		}
		for _, e := range v {
			if hasUnquoted(e) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, hasUnquoted)
	}
	return false
}
