package main

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkAudit audits real manifests, repeated to 10 MB.
func BenchmarkAuditCorpus(b *testing.B) {
	dir := os.Getenv("SIXGATE_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "e2e", "testdata", "corpus")
	}
	var all []byte
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !isManifestName(path) {
			return err
		}
		data, err := os.ReadFile(path)
		all = append(append(all, data...), "\n---\n"...)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	name := filepath.Join(b.TempDir(), "all.yaml")
	data := bytes.Repeat(all, 10<<20/len(all)+1)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if code := run(context.Background(), []string{"sixgate", "audit", name}, nil, io.Discard, io.Discard); code == 0 {
			b.Fatal("nothing found")
		}
	}
}
