//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sixgate/sixgate/e2e/cluster"
	"github.com/sixgate/sixgate/e2e/node"
)

func TestMain(m *testing.M) {
	if os.Getenv("SIXGATE_DEMO") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// demo runs the command, as a person does.
func demo(t *testing.T, args ...string) string {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "SIXGATE_DEMO=yes")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("demo %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestNode: the demo says what it should, the cluster stays up, and after -stop nothing of it is left.
func TestNode(t *testing.T) {
	if reason := node.Missing(); reason != "" {
		t.Skip(reason)
	}
	before := traces(t)
	dir := filepath.Join(t.TempDir(), "demo")
	out := demo(t, "-node", "-dir", dir)
	t.Cleanup(func() { demo(t, "-stop", "-dir", dir) })
	t.Log(out)
	for _, s := range node.Scenes() {
		if !strings.Contains(out, s.Title+"\n  without Sixgate | ") {
			t.Errorf("%q is not shown", s.Title)
		}
	}
	for _, want := range []string{"make demo-node-stop", filepath.Join(dir, "kubectl") + " get pods"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in the output", want)
		}
	}
	kubectl := exec.CommandContext(t.Context(), filepath.Join(dir, "kubectl"), "get", "pods", "-A")
	pods, err := kubectl.CombinedOutput()
	if err != nil || strings.Count(string(pods), "Running") < 5 {
		t.Errorf("%v:\n%s", err, pods)
	}
	if len(mentions(t, dir)) < 8 {
		t.Errorf("of the cluster's processes only these are found: %v", mentions(t, dir))
	}
	groups := cgroup(t, dir)
	if _, err := os.Stat(groups); err != nil {
		t.Error(err)
	}

	demo(t, "-stop", "-dir", dir)
	if left := mentions(t, dir); len(left) > 0 {
		t.Errorf("processes or mounts are left: %v", left)
	}
	for _, path := range []string{dir, groups} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if after := traces(t); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
	demo(t, "-stop", "-dir", dir) // where nothing runs
}

// traces are the places where a container runtime or a network plugin leaves something, if they exist.
func traces(t *testing.T) []string {
	var out []string
	for _, path := range []string{"/run/netns/*", "/run/containerd", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers"} {
		found, err := filepath.Glob(path)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, found...)
	}
	return out
}

// mentions are processes whose command line or mounts name a directory.
func mentions(t *testing.T, dir string) []string {
	var out []string
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/mountinfo"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err == nil && bytes.Contains(text, []byte(dir)) {
				out = append(out, path)
			}
		}
	}
	return out
}

// cgroup is where the pods of a cluster are.
func cgroup(t *testing.T, dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "pids.json"))
	if err != nil {
		t.Fatal(err)
	}
	var processes []struct {
		Name string
		PID  int
	}
	if err := json.Unmarshal(text, &processes); err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if p.Name == "node.sh" {
			for _, controller := range []string{"", "memory"} {
				path := filepath.Join("/sys/fs/cgroup", controller, fmt.Sprintf("sixgate-%d", p.PID))
				if _, err := os.Stat(path); err == nil {
					return path
				}
			}
		}
	}
	t.Fatalf("the node has no cgroup: %s", text)
	return ""
}
