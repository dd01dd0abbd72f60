package main

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestIsCheck: only a dry run of the one ConfigMap is answered with a warning.
func TestIsCheck(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		kind, name string
		dryRun     *bool
		want       bool
	}{
		{"ConfigMap", "sixgate-check", &yes, true},
		{"ConfigMap", "sixgate-check", &no, false},
		{"ConfigMap", "sixgate-check", nil, false},
		{"ConfigMap", "other", &yes, false},
		{"Secret", "sixgate-check", &yes, false},
	} {
		in := admissionv1.AdmissionRequest{Kind: metav1.GroupVersionKind{Version: "v1", Kind: c.kind}, Name: c.name, DryRun: c.dryRun}
		if got := isCheck(&in); got != c.want {
			t.Errorf("%s %s: %t", c.kind, c.name, got)
		}
	}
}

func TestCheckOptions(t *testing.T) {
	for args, want := range map[string]string{
		"--enforce=mutate":                     "--enforce needs --check",
		"--check=1m --enforce=mutate,convert":  `--enforce: "convert" must be mutate or validate`,
		"--check=-1s":                          "--check must not be negative",
		"--check=1m --enforce=mutate,validate": "",
		"--check=1m --enforce=":                "",
		"--check=1m --events":                  "--events does nothing with --check",
	} {
		_, err := parseOptions(strings.Fields(args))
		if got := errorText(err); got != want {
			t.Errorf("%s: %q", args, got)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
