package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSource: a tag, a commit after it, a changed file, and no git at all.
func TestSource(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=1767225600 +0000", "GIT_AUTHOR_DATE=1767225600 +0000")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	is := func(prefix, suffix string) {
		t.Helper()
		s, err := readSource(dir, "")
		if err != nil || !strings.HasPrefix(s.version, prefix) || !strings.HasSuffix(s.version, suffix) || len(s.revision) < 40 || s.time.Unix() != 1767225600 {
			t.Errorf("%+v %v", s, err)
		}
	}
	if _, err := readSource(dir, ""); err == nil || !strings.Contains(err.Error(), "without git give -version and SOURCE_DATE_EPOCH") {
		t.Errorf("no git: %v", err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	if s, err := readSource(dir, "v1.0.0"); err != nil || s.version != "v1.0.0" || s.time.Unix() != 1700000000 {
		t.Errorf("%+v %v", s, err)
	}
	git("init", "-q")
	git("commit", "-q", "--allow-empty", "-m", "one")
	is("v0.0.0-20260101000000-", "")
	git("tag", "v0.3.0")
	is("v0.3.0", "v0.3.0")
	git("commit", "-q", "--allow-empty", "-m", "two")
	is("v0.3.1-0.20260101000000-", "")
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	is("v0.3.1-0.20260101000000-", "+dirty")
}
