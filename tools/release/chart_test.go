package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestChart: the packed chart is the chart of the checkout, but for its version and the image of this release.
func TestChart(t *testing.T) {
	r := release{root: "../..", out: t.TempDir(), repository: repository, source: source{version: "v1.2.3+dirty", time: time.Unix(1767225600, 0)}}
	if err := r.chart(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(r.out, "sixgate-1.2.3+dirty.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{ // lines that are new
		"Chart.yaml":  {"version: 1.2.3+dirty", "appVersion: v1.2.3_dirty"},
		"values.yaml": {"  repository: " + repository},
	}
	n := 0
	for in := tar.NewReader(z); ; n++ {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		packed, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(h.Name, "sixgate/")
		source, err := os.ReadFile(filepath.Join("../../charts/sixgate", name))
		if err != nil {
			t.Fatal(err)
		}
		before, after := strings.Split(string(source), "\n"), strings.Split(string(packed), "\n")
		var changed []string
		for i := range before {
			if len(before) != len(after) || before[i] != after[i] {
				changed = append(changed, after[i])
			}
		}
		if strings.Join(changed, "\n") != strings.Join(want[name], "\n") {
			t.Errorf("%s: changed %q, want %q", name, changed, want[name])
		}
		if !h.ModTime.Equal(r.source.time) {
			t.Errorf("%s: time %s", name, h.ModTime)
		}
	}
	if n < 15 {
		t.Errorf("%d entries", n)
	}
	if _, err := replaced([]byte("a: 1\na: 2\n"), `(?m)^a: .*$`, "a: 3"); err == nil {
		t.Error("a line that is there twice was replaced")
	}
}

const repository = "registry.example/sixgate/webhook"
