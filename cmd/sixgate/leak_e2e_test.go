//go:build e2e

package main

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// A namespaced runs the tests where they can have a cluster.
type namespaced struct{ testscript.TestingM }

func (n namespaced) Run() int { return cluster.Main(n.TestingM.Run) }

func aroundTests(m testscript.TestingM) testscript.TestingM { return namespaced{m} }

// TestClusterLeaks: what asks a cluster ends what it has started.
func TestClusterLeaks(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{})
	var objects strings.Builder
	for i := range 30 {
		fmt.Fprintf(&objects, "---\n%s---\napiVersion: v1\nkind: Pod\nmetadata: {name: pod-%d}\nspec: {nodeName: gone, containers: [{name: a, image: a, ports: [{containerPort: 80}]}]}\n", service(fmt.Sprint("s-", i)), i)
	}
	manifests := strings.ReplaceAll(objects.String(), "ipFamilies: [IPv4]", "ports: [{port: 80}]")
	if _, stderr, code, err := c.Kubectl(t.Context(), manifests, "apply", "-f", "-"); err != nil || code != 0 {
		t.Fatal(err, stderr)
	}
	// As their kubelet said before it was lost.
	running := strings.ReplaceAll(manifests, "spec: {nodeName", "status: {phase: Running, containerStatuses: [{name: a, image: a, imageID: a, ready: true, restartCount: 0, state: {running: {}}}]}\nspec: {nodeName")
	if _, stderr, code, err := c.Kubectl(t.Context(), running, "apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", "-"); err != nil || code != 0 {
		t.Fatal(err, stderr)
	}
	for _, args := range []string{
		"audit --cluster --page-size 7 --fail-on none", "audit --cluster -o html --fail-on none", "audit --cluster -n nowhere --fail-on none", "explain service/s-1",
		"probe pod-1 pod-2 --timeout 2s --fail-on none", "probe --proc /proc --fail-on none",
	} {
		sixgate := func() (said string) {
			var out, errs bytes.Buffer
			line := append([]string{"sixgate"}, strings.Fields(args)...)
			if !strings.Contains(args, "--proc") {
				line = append(line, "--kubeconfig", c.Kubeconfig)
			}
			code := run(t.Context(), line, strings.NewReader(""), &out, &errs)
			return fmt.Sprintf("exit code %d\n%s", code, errs.String())
		}
		begin := time.Now()
		said := sixgate()
		t.Logf("%s: %v, %.300s", args, time.Since(begin), said)
		for range 3 {
			sixgate()
		}
		var left []string
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if left = goroutines(); len(left) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s leaves behind:\n%s", args, strings.Join(left, "\n\n"))
			}
		}
	}
}

// goroutines are the stacks of those that the commands have started, but for the connections that net/http keeps for a while.
func goroutines() (left []string) {
	stacks := make([]byte, 1<<22)
	for _, stack := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		_, creator, started := strings.Cut(stack, "\ncreated by ")
		if started && !strings.HasPrefix(creator, "net/http.") && !strings.Contains(creator, "/net/http2.") && !strings.HasPrefix(creator, "testing.") && !strings.HasPrefix(creator, "os/") &&
			!strings.Contains(creator, "/e2e/cluster.") && !strings.HasPrefix(creator, "runtime.") {
			left = append(left, stack)
		}
	}
	return left
}
