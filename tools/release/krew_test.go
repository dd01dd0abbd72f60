package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKrew: the template of the checkout asks for archives that are made, and each gets the sum of its own.
func TestKrew(t *testing.T) {
	r := release{root: "../..", out: t.TempDir(), source: source{version: "v1.2.3"}}
	sums := map[string]string{}
	for _, name := range []string{"darwin_amd64", "darwin_arm64", "linux_amd64", "linux_arm64", "windows_amd64"} {
		sums["sixgate_"+name+".tar.gz"] = "sum-of-" + name
	}
	if err := r.krew(sums); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(r.out, "sixgate.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, sum := range sums {
		want := "uri: https://github.com/sixgate/sixgate/releases/download/v1.2.3/" + name + "\n    sha256: " + sum + "\n"
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
	delete(sums, "sixgate_linux_arm64.tar.gz")
	if err := r.krew(sums); err == nil || !strings.Contains(err.Error(), "no archive sixgate_linux_arm64.tar.gz was made") {
		t.Errorf("an archive is missing: %v", err)
	}
}

// TestOutput: a folder that this command did not make is left alone.
func TestOutput(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(release{root: "../..", out: dir}, []string{"image"}); err == nil || !strings.Contains(err.Error(), "is not empty and was not made by this command") {
		t.Errorf("error: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "mine")); err != nil {
		t.Error(err)
	}
}
