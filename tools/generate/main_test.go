package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestDrift: what is committed is what the rules give, nothing missing and nothing stray.
func TestDrift(t *testing.T) {
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the rules give (%v); run make generate", name, err)
		}
	}
	pages, err := filepath.Glob("../../docs/rules/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages {
		if _, ok := files["docs/rules/"+filepath.Base(p)]; !ok {
			t.Errorf("%s belongs to no rule", p)
		}
	}
}
