package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCgroupMemory: the limit is read in a container and outside, of both versions of control groups, and the lowest one counts.
func TestCgroupMemory(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		group string
		want  int64
	}{
		"version 2, container":      {map[string]string{"memory.max": "268435456\n"}, "0::/\n", 256 << 20},
		"version 2, no limit":       {map[string]string{"memory.max": "max\n"}, "0::/\n", 0},
		"version 2, below the root": {map[string]string{"a/b/memory.max": "1048576\n"}, "0::/a/b\n", 1 << 20},
		"version 1, container":      {map[string]string{"memory/memory.limit_in_bytes": "268435456\n"}, "4:memory:/kubepods/x\n0::/\n", 256 << 20},
		"version 1, no limit":       {map[string]string{"memory/memory.limit_in_bytes": "9223372036854771712\n"}, "4:memory:/\n", 0},
		"version 1, both":           {map[string]string{"memory/memory.limit_in_bytes": "2097152", "memory/x/memory.limit_in_bytes": "1048576"}, "4:memory:/x\n", 1 << 20},
		"outside of the root":       {map[string]string{"memory.max": "7"}, "0::/../../x\n", 7},
		"nothing":                   {nil, "", 0},
		"garbage":                   {map[string]string{"memory.max": "-1"}, "x\n:::\n", 0},
	} {
		dir := t.TempDir()
		for file, text := range c.files {
			path := filepath.Join(dir, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		groups := filepath.Join(dir, "groups")
		if err := os.WriteFile(groups, []byte(c.group), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := cgroupMemory(dir, groups); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
