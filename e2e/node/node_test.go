//go:build e2e

package node

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/sixgate/sixgate/e2e/cluster"
)

func TestMain(m *testing.M) {
	if Missing() != "" {
		os.Exit(cluster.TestMain(m.Run))
	}
	os.Exit(cluster.TestMain(m.Run, Prepare))
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
	t.Run("host ports", func(t *testing.T) { testHostPorts(t, n) })
	if out, err := n.InstallSixgate(t.Context()); err != nil {
		t.Fatal(err, out)
	}
	testPods(t, n)
	if out, err := n.Helm(t.Context(), "test", "sixgate", "--namespace", "sixgate-system"); err != nil || !strings.Contains(out, "Succeeded") {
		t.Errorf("helm test: %v: %s", err, out)
	}
	lines, err = n.After(t.Context())
	log(lines)
	if err != nil {
		t.Fatal(err)
	}
}

// testHostPorts is the table of docs/rules/host-port-ipv4.md, without Sixgate.
func testHostPorts(t *testing.T, n *Node) {
	rows := []struct {
		hostIP  string
		reached bool
	}{{"", true}, {"::", true}, {n.Address, true}, {"0.0.0.0", false}, {"127.0.0.1", false}, {"192.0.2.10", false}}
	name := func(i int) string { return fmt.Sprintf("host-port-%d", i) }
	port := func(i int) int { return 9200 + i }
	for i, row := range rows {
		pod := fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {test: host-port}}
spec:
  containers:
  - {name: a, image: %q, imagePullPolicy: Never, args: [serve, ":8080"], ports: [{containerPort: 8080, hostPort: %d, hostIP: %q}]}
`, name(i), podImage, port(i), row.hostIP)
		if _, err := n.Must(t.Context(), pod, "apply", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.Must(t.Context(), "", "wait", "--for=condition=Ready", "pod", "-l", "test=host-port", "--timeout=4m"); err != nil {
		t.Fatal(err)
	}
	for i, row := range rows {
		var body string
		err := n.Eventually(t.Context(), func() error { // the program listens, which Ready does not say
			address, err := n.Must(t.Context(), "", "get", "pod", name(i), "-o", "jsonpath={.status.podIP}")
			if err == nil {
				_, err = Get(t.Context(), URL(address, 8080))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		body, err = Get(t.Context(), URL(n.Address, port(i)))
		t.Logf("hostIP %q: %q %v", row.hostIP, body, err)
		if row.reached && body != name(i) || !row.reached && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("hostIP %q: %q, %v", row.hostIP, body, err)
		}
	}
	// Nobody is told.
	events, err := n.Must(t.Context(), "", "get", "events", "--field-selector", "type=Warning,involvedObject.kind=Pod", "-o", "name")
	if err != nil || events != "" {
		t.Errorf("warnings: %s %v", events, err)
	}
	if _, err := n.Must(t.Context(), "", "delete", "pod", "-l", "test=host-port", "--now"); err != nil {
		t.Fatal(err)
	}
}

// testPods: two pods of the released image, which the kubelet finds ready over IPv6 and Prometheus can read, under the restricted level.
func testPods(t *testing.T, n *Node) {
	addresses, err := n.Must(t.Context(), "", "get", "pods", "-n", "sixgate-system", "-l", "app=sixgate-webhook", "-o", "jsonpath={.items[*].status.podIP}")
	if err != nil || len(strings.Fields(addresses)) != 2 {
		t.Fatalf("the pods have the addresses %q: %v", addresses, err)
	}
	for _, address := range strings.Fields(addresses) {
		if body, err := Get(t.Context(), URL(address, 8080)+"metrics"); err != nil || !strings.Contains(body, "sixgate_cluster_ipv6_only 1") {
			t.Errorf("metrics of %s: %.200s %v", address, body, err)
		}
		if body, err := Get(t.Context(), URL(address, 8081)+"readyz"); err != nil || body != "ok" {
			t.Errorf("readiness of %s: %s %v", address, body, err)
		}
	}
	images, err := n.Must(t.Context(), "", "get", "pods", "-n", "sixgate-system", "-o", "jsonpath={.items[*].status.containerStatuses[*].image}")
	if err != nil || !strings.Contains(images, n.Image) {
		t.Errorf("the pods run %s, not %s: %v", images, n.Image, err)
	}
	_, warning, _, err := n.Kubectl(t.Context(), "", "label", "namespace", "sixgate-system", "pod-security.kubernetes.io/enforce=restricted")
	if err != nil || warning != "" {
		t.Errorf("restricted: %s %v", warning, err)
	}
}
