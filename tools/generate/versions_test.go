package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestVersions: the chart and docs/install.md name the versions of Kubernetes that the tests run on.
func TestVersions(t *testing.T) {
	read := func(path string) string {
		t.Helper()
		b, err := os.ReadFile("../../" + path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	version := func(module string) string {
		t.Helper()
		m := regexp.MustCompile(`k8s\.io/kubernetes (v1\.[0-9.]+)`).FindStringSubmatch(read("tools/" + module + "/go.mod"))
		if m == nil {
			t.Fatalf("tools/%s names no version", module)
		}
		return m[1]
	}
	newest, oldest := version("kubernetes"), version("kubernetes-oldest")
	install := read("docs/install.md")
	minor := strings.TrimPrefix(oldest[:strings.LastIndexByte(oldest, '.')], "v")
	for _, want := range []string{"| " + newest + " | newest |", "| " + oldest + " | oldest |", "It needs Kubernetes " + minor + " or newer"} {
		if !strings.Contains(install, want) {
			t.Errorf("docs/install.md: %q is missing", want)
		}
	}
	if want := `kubeVersion: ">=` + minor + `.0-0"`; !strings.Contains(read("charts/sixgate/Chart.yaml"), want) {
		t.Errorf("charts/sixgate/Chart.yaml: %s is missing", want)
	}
	if want := "Kubernetes " + minor + " or newer"; !strings.Contains(read("charts/sixgate/README.md"), want) {
		t.Errorf("charts/sixgate/README.md: %s is missing", want)
	}
}
