package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFuzzScript: a target that Go's fuzzing engine gives up is repeated once, and one with a finding is not. The engine cannot be made to fail, so
// the go command before the real one says what it says then.
func TestFuzzScript(t *testing.T) {
	const gaveUp = "--- FAIL: FuzzLength (5.06s)\n    context deadline exceeded\nFAIL"
	source := func(longest string) string {
		return "package p\n\nimport \"testing\"\n\nfunc FuzzLength(f *testing.F) {\n\tf.Add(\"a\")\n\tf.Fuzz(func(t *testing.T, s string) {\n" +
			"\t\tif len(s) > " + longest + " {\n\t\t\tt.Error(\"long\")\n\t\t}\n\t})\n}\n"
	}
	script, err := filepath.Abs(filepath.Join(rootFolder(), "tools/fuzz.sh"))
	if err != nil {
		t.Fatal(err)
	}
	real, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, longest string
		failures      string // of the engine, before the real command is run
		code, runs    int
		says          string
	}{
		{"nothing", "1<<30", "0", 0, 1, ""},
		{"the engine fails", "1<<30", "1", 0, 2, "repeated once"},
		{"the engine fails twice", "1<<30", "2", 1, 2, "context deadline exceeded"},
		{"a finding", "3", "0", 1, 1, "Failing input written to"},
		{"a finding after the engine has failed", "3", "1", 1, 2, "Failing input written to"},
		{"a seed that fails", "0", "0", 1, 1, "seed corpus entry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, bin := t.TempDir(), t.TempDir()
			for name, text := range map[string]string{
				filepath.Join(dir, "go.mod"):    "module p\n\ngo 1.26\n",
				filepath.Join(dir, "p_test.go"): source(c.longest),
				filepath.Join(bin, "go"): "#!/bin/sh\n[ \"$1\" = test ] || exec " + real + " \"$@\"\necho >>" + bin + "/runs\n[ $(wc -l <" + bin + "/runs) -gt " + c.failures + " ] && exec " + real + " \"$@\"\n" +
					"echo '" + gaveUp + "'\nexit 1\n",
			} {
				if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("sh", script, "2s", ".")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "GOWORK=off", "GOFLAGS=-mod=mod")
			out, _ := cmd.CombinedOutput()
			runs, err := os.ReadFile(filepath.Join(bin, "runs"))
			if err != nil {
				t.Fatal(err)
			}
			if code, n := cmd.ProcessState.ExitCode(), strings.Count(string(runs), "\n"); code != c.code || n != c.runs || !strings.Contains(string(out), c.says) {
				t.Errorf("exit code %d after %d runs:\n%s", code, n, out)
			}
		})
	}
}
