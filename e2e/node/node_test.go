//go:build e2e

package node

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sixgate/sixgate/e2e/cluster"
)

func TestMain(m *testing.M) {
	if cluster.Outermost() && Missing() == "" { // what is built needs modules, which cannot be fetched from inside
		if err := Prepare(context.Background(), os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(cluster.Main(m.Run))
}

// start starts a node that ends with the test, and leaves nothing behind.
func start(t *testing.T) *Node {
	t.Helper()
	if reason := Missing(); reason != "" {
		t.Skip(reason)
	}
	n, err := Start(t.Context(), cluster.Options{Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// TestScenes plays all scenes before Sixgate is installed, and after.
func TestScenes(t *testing.T) {
	n := start(t)
	scenes := Scenes()
	log := func(lines [][]string) {
		for i := range lines {
			t.Logf("%s\n%s", scenes[i].Title, strings.Join(lines[i], "\n"))
		}
	}
	lines, err := n.Before(t.Context())
	log(lines)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := n.InstallSixgate(t.Context()); err != nil {
		t.Fatal(err, out)
	}
	if out, err := n.Helm(t.Context(), "test", "sixgate", "--namespace", "sixgate-system"); err != nil || !strings.Contains(out, "Succeeded") {
		t.Errorf("helm test: %v: %s", err, out)
	}
	lines, err = n.After(t.Context())
	log(lines)
	if err != nil {
		t.Fatal(err)
	}
}
