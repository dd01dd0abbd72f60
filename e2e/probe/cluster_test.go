//go:build e2e

package probe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// objects are a node, and pods on it. web-0 is every kind of fault.
const objects = `apiVersion: v1
kind: Node
metadata: {name: node}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, labels: {app: web}}
spec:
  nodeName: node
  containers:
  - {name: distroless, image: x, ports: [{name: http, containerPort: 8080}, {containerPort: 8085}]}
  - name: web
    image: x
    readinessProbe: {tcpSocket: {port: 8083}}
    livenessProbe: {httpGet: {port: 8081}}
    startupProbe: {grpc: {port: 8082}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {nodeName: node, containers: [{name: web, image: x}]}
---
apiVersion: v1
kind: Pod
metadata: {name: slow, namespace: shop}
spec: {nodeName: node, containers: [{name: hanging, image: x}]}
---
apiVersion: v1
kind: Pod
metadata: {name: small, namespace: shop, labels: {app: small}}
spec: {nodeName: node, containers: [{name: distroless, image: x, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: http}
  - {name: dual, port: 8081}
  - {name: six, port: 8082}
  - {name: none, port: 84, targetPort: 8084}
  - {name: dns, port: 53, protocol: UDP, targetPort: 5353}
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: shop}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: small, namespace: shop}
spec: {selector: {app: small}, ports: [{port: 80, targetPort: 8080}]}
`

const web0 = `shop/web-0: fault: port 5353/UDP listens on IPv4 only (0.0.0.0:5353); Service shop/web dials it over IPv6
shop/web-0: fault: port 8080 listens on IPv4 only (0.0.0.0:8080); Service shop/headless, Service shop/web dial it over IPv6
shop/web-0: fault: port 8083 listens on loopback only (127.0.0.1:8083, [::1]:8083); readinessProbe of container web dials it over IPv6
shop/web-0: fault: nothing listens on port 8084; Service shop/web dials it over IPv6
shop/web-0: warn: port 8085 listens on IPv4 only (0.0.0.0:8085); container distroless declares it
`

type env struct {
	*cluster.Cluster
	*kubelet
}

func (e *env) kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, stderr, code, err := e.Cluster.Kubectl(ctx, stdin, args...)
	if err != nil || code != 0 {
		t.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, stderr)
	}
	return out
}

// status writes what the kubelet would.
func (e *env) status(t *testing.T, resource, name string, status any) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		t.Fatal(err)
	}
	e.kubectl(t, "", "patch", resource, name, "-n", "shop", "--subresource=status", "--type=merge", "-p", string(patch))
}

func (e *env) runs(t *testing.T, pod string, pid int, containers ...string) {
	t.Helper()
	e.mu.Lock()
	e.pods["shop/"+pod] = pid
	e.mu.Unlock()
	var statuses []any
	for _, name := range containers {
		statuses = append(statuses, map[string]any{"name": name, "image": "x", "imageID": "", "ready": true, "restartCount": 0,
			"state": map[string]any{"running": map[string]any{}}})
	}
	e.status(t, "pod", pod, map[string]any{"phase": "Running", "podIP": "fd00:6:6::10",
		"podIPs": []any{map[string]any{"ip": "fd00:6:6::10"}}, "containerStatuses": statuses})
}

// user writes a kubeconfig of a user without any rights.
func (e *env) user(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(e.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, bytes.Replace(text, []byte("  user:\n    client"), []byte("  user:\n    as: "+name+"\n    client"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// role is the Role that docs/probe.md shows.
func role(t *testing.T) string {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs/probe.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, yaml, _ := strings.Cut(string(text), "```yaml\n")
	yaml, _, _ = strings.Cut(yaml, "```")
	return yaml
}

// TestExec reads pods through the API server: kubelet and runtime are played by this program, with the streaming server of the real ones.
func TestExec(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{})
	e := &env{c, newKubelet(t, c.Address)}
	e.kubectl(t, objects, "apply", "-f", "-")
	e.kubectl(t, role(t), "apply", "-f", "-")
	e.kubectl(t, "", "create", "rolebinding", "probe", "-n", "shop", "--role=sixgate-probe", "--user=prober")
	e.status(t, "node", "node", map[string]any{
		"addresses":       []any{map[string]any{"type": "InternalIP", "address": c.Address}},
		"daemonEndpoints": map[string]any{"kubeletEndpoint": map[string]any{"Port": e.port(t)}},
	})
	e.runs(t, "web-0", listen(t, "tcp4 0.0.0.0:8080", "tcp [::]:8081", "tcp6 [::]:8082", "tcp4 127.0.0.1:8083", "tcp6 [::1]:8083",
		"tcp4 0.0.0.0:8085", "udp4 0.0.0.0:5353", "tcp4 0.0.0.0:9999"), "distroless", "web")
	prober := e.user(t, "prober")

	// The first container has no cat, the second one does.
	pending := "shop/web-1: not read: it does not run, it is Pending\n"
	sixgate(t, prober, "-n", "shop", "-l", "app=web").expect(t, 1, web0+"1 network namespace read: 4 faults, 1 warning; 1 skipped\n", pending)
	sixgate(t, prober, "-n", "shop", "pod/web-0", "web-0", "--listeners").expect(t, 1, web0+
		"shop/web-0: port 8081 listens on IPv6 ([::]:8081)\nshop/web-0: port 8082 listens on IPv6 ([::]:8082)\n"+
		"shop/web-0: port 9999 listens on IPv4 only (0.0.0.0:9999)\n1 network namespace read: 4 faults, 1 warning\n", "")
	if !strings.Contains(e.kubectl(t, "", "get", "--raw", "/metrics"), "\napiserver_websocket_streaming_requests_total{") {
		t.Error("the exec did not come by WebSocket")
	}

	// What cannot be read does not keep the others from being read.
	e.runs(t, "small", listen(t, "tcp4 0.0.0.0:8080"), "distroless")
	e.runs(t, "slow", listen(t, "tcp [::]:8080"), "hanging")
	some := sixgate(t, prober, "-n", "shop", "--timeout=10s")
	some.expect(t, 3, web0+"1 network namespace read: 4 faults, 1 warning; 1 skipped; 2 errors\n", pending+
		"shop/slow: not read: no answer in 10s; raise --timeout\nshop/small: not read: no cat in distroless; use --ephemeral IMAGE\n")

	t.Run("ephemeral", func(t *testing.T) { testEphemeral(t, e, prober) })

	t.Run("rights", func(t *testing.T) {
		nobody := e.user(t, "nobody")
		r := sixgate(t, nobody, "-n", "shop")
		r.expect(t, 3, "", `sixgate: list pods: pods is forbidden: User "nobody" cannot list resource "pods" in API group "" in the namespace "shop"; it needs the verb list on pods`+"\n")
		e.kubectl(t, "", "create", "role", "view", "-n", "shop", "--verb=get,list", "--resource=pods,services")
		e.kubectl(t, "", "create", "rolebinding", "view", "-n", "shop", "--role=view", "--user=nobody")
		r = sixgate(t, nobody, "-n", "shop", "web-0")
		r.expect(t, 3, "0 network namespaces read: 0 faults, 0 warnings; 1 error\n", `shop/web-0: not read: exec in container distroless: unable to upgrade connection: pods "web-0" is forbidden: User "nobody" cannot create resource "pods/exec" in API group "" in the namespace "shop"; it needs the verb create on pods/exec`+"\n")
		r = sixgate(t, nobody, "-A")
		r.expect(t, 3, "", `sixgate: list pods: pods is forbidden: User "nobody" cannot list resource "pods" in API group "" at the cluster scope; it needs the verb list on pods`+"\n")
	})

	// The kubelet is gone.
	e.CloseClientConnections()
	e.Listener.Close()
	r := sixgate(t, prober, "-n", "shop", "web-0")
	if r.code != 3 || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, "connection refused") {
		t.Errorf("without a kubelet: %d %s%s", r.code, r.out, r.err)
	}
}

// testEphemeral plays the part of the kubelet: it runs the container that was added, keeps its log and writes its status.
func testEphemeral(t *testing.T, e *env, kubeconfig string) {
	played := make(chan error, 1)
	go func() { played <- playEphemeral(t.Context(), e) }()
	r := sixgate(t, kubeconfig, "-n", "shop", "small", "--ephemeral=busybox:1.37")
	if err := <-played; err != nil {
		t.Fatal(err, r)
	}
	name := e.kubectl(t, "", "get", "pod", "small", "-n", "shop", "-o", "jsonpath={.spec.ephemeralContainers[*].name}")
	r.expect(t, 1, "shop/small: fault: port 8080 listens on IPv4 only (0.0.0.0:8080); Service shop/small dials it over IPv6\n"+
		"1 network namespace read: 1 fault, 0 warnings\n",
		"shop/small: added the ephemeral container "+name+" (busybox:1.37); it ends at once and stays in the pod's spec as long as the pod lives\n")
}

func playEphemeral(ctx context.Context, e *env) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for ; ; time.Sleep(100 * time.Millisecond) {
		text, stderr, _, err := e.Cluster.Kubectl(ctx, "", "get", "pod", "small", "-n", "shop", "-o", "json")
		if err != nil {
			return fmt.Errorf("%w: %s", err, stderr)
		}
		var pod struct {
			Spec struct {
				EphemeralContainers []struct {
					Name    string
					Command []string
				}
			}
		}
		if err := json.Unmarshal([]byte(text), &pod); err != nil {
			return err
		}
		if len(pod.Spec.EphemeralContainers) == 0 {
			continue
		}
		c := pod.Spec.EphemeralContainers[0]
		var out bytes.Buffer
		if err := e.run(ctx, "", "shop/small", c.Command, &out, &out); err != nil {
			return err
		}
		e.mu.Lock()
		e.logs["shop/small/"+c.Name] = out.String()
		e.mu.Unlock()
		patch := fmt.Sprintf(`{"status":{"ephemeralContainerStatuses":[{"name":%q,"image":"x","imageID":"","ready":false,"restartCount":0,"state":{"terminated":{"exitCode":0}}}]}}`, c.Name)
		_, stderr, code, err := e.Cluster.Kubectl(ctx, "", "patch", "pod", "small", "-n", "shop", "--subresource=status", "--type=merge", "-p", patch)
		if err == nil && code != 0 {
			err = fmt.Errorf("kubectl patch: %s", stderr)
		}
		return err
	}
}
