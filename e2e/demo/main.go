// Command demo shows the main job on a real IPv6-only API server: each manifest of examples/ without Sixgate and with it, and
// what was stored; `demo -node` on a cluster with a node and pods. The cluster stays up until `demo -stop`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/diff"
	"golang.org/x/term"
	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/e2e/cluster"
	"github.com/sixgate/sixgate/e2e/node"
	"github.com/sixgate/sixgate/pkg/manifest"
	"github.com/sixgate/sixgate/pkg/mutate"
	"github.com/sixgate/sixgate/pkg/rules"
)

func main() {
	stop := flag.Bool("stop", false, "stop the cluster of an earlier run")
	prepare := flag.Bool("prepare", false, "build what the demo and the tests need, and stop")
	withNode := flag.Bool("node", false, "with a node and pods")
	dir := flag.String("dir", "", "where the cluster lives; default demo in the checkout")
	flag.Parse()
	root, err := cluster.Root()
	if err != nil {
		os.Exit(exit(err))
	}
	if *dir == "" {
		*dir = filepath.Join(root, "demo")
	}
	if reason := node.Missing(); *withNode && reason != "" {
		fmt.Println("There is no demo with a node on this machine:", reason)
		return
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if *stop {
		os.Exit(exit(remove(*dir)))
	}
	if cluster.Outermost() && !*prepare {
		if err := remove(*dir); err != nil {
			os.Exit(exit(err))
		}
	}
	if cluster.Outermost() {
		say("Building Sixgate and, the first time, kube-apiserver, etcd and kubectl (about 8 minutes on 2 cores) …")
		if _, err := cluster.BuildSixgate(ctx); err != nil {
			os.Exit(exit(err))
		}
		if _, err := cluster.FindAssets(ctx, os.Stdout); *prepare && errors.Is(err, cluster.ErrNoTime) {
			fmt.Println("The tests on the oldest Kubernetes are not run:", err)
			return
		} else if err != nil {
			os.Exit(exit(err))
		}
	}
	if *prepare {
		os.Exit(exit(prepareTests(ctx)))
	}
	if cluster.Outermost() && *withNode {
		say("Building Sixgate's image and, the first time, kubelet, kube-proxy, kube-scheduler, CoreDNS, Helm and kustomize (about 10 minutes on 2 cores) …")
		if err := node.Prepare(ctx, os.Stdout); err != nil {
			os.Exit(exit(err))
		}
	}
	os.Exit(cluster.Main(func() int {
		if *withNode {
			return exit(runNode(ctx, *dir))
		}
		return exit(run(ctx, root, *dir))
	}))
}

// prepareTests builds what the tests need beside the control plane, what most of them need first, and says which are not run.
func prepareTests(ctx context.Context) error {
	if cluster.Oldest() {
		return nil
	}
	nodes := cluster.Finder(node.Prepare)
	if reason := node.Missing(); reason != "" {
		fmt.Println("The tests on a node with pods are skipped:", reason)
		nodes = func(context.Context, io.Writer) error { return nil }
	}
	for _, need := range []struct {
		tests string // folders of e2e
		find  cluster.Finder
	}{
		{"chart, integrations, certs, node", cluster.Need(cluster.FindTools)},
		{"chart", cluster.Need(cluster.FindCrane)},
		{"node", nodes},
		{"certs", cluster.Need(cluster.FindCertManager)},
		{"gitops", cluster.Need(cluster.FindFlux)},
		{"gitops", cluster.Need(cluster.FindArgoCD)},
	} {
		err := need.find(ctx, os.Stdout)
		if errors.Is(err, cluster.ErrNoTime) {
			fmt.Printf("The tests of e2e/{%s} are not run: %v\n", need.tests, err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func exit(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "demo: %v\n", err)
	return 1
}

// remove stops what an earlier run left in a directory.
func remove(dir string) error {
	if err := node.StopDetached(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}

// An example is one file of examples/ and what kubectl said without Sixgate.
type example struct {
	path, before string
}

func run(ctx context.Context, root, dir string) (err error) {
	say("Starting an IPv6-only kube-apiserver in a network namespace whose only IPv4 address is 127.0.0.1 …")
	c, err := cluster.Start(ctx, cluster.Options{Dir: dir, ControllerManager: true, Detach: true, Log: os.Stdout})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	paths, err := filepath.Glob(filepath.Join(root, "examples", "*.yaml"))
	if err != nil {
		return err
	}
	policy := filepath.Join(root, "examples", "policy.yaml")
	var examples []example
	for _, path := range paths {
		if path == policy {
			continue
		}
		_, before, err := apply(ctx, c, path, "--dry-run=server")
		if err != nil {
			return err
		}
		examples = append(examples, example{path, before})
	}
	say("Installing Sixgate: kubectl apply -k config/webhook, with the server on this machine since the cluster has no node …")
	if _, err := c.InstallSixgate(ctx, cluster.SixgateOptions{Policy: policy}); err != nil {
		return err
	}
	set, err := readPolicy(policy)
	if err != nil {
		return err
	}
	for _, e := range examples {
		if err := show(ctx, c, set, e); err != nil {
			return err
		}
	}
	fmt.Print(`
The cluster is still running. Try it yourself:
    demo/kubectl apply -f YOUR.yaml
    demo/kubectl get services,pods -A
    bin/sixgate audit YOUR.yaml         (the same answer without a cluster)
    bin/sixgate explain listen-nginx
Its kubeconfig is demo/kubeconfig, its policy examples/policy.yaml (edit it: it is read again). To stop it:
    make demo-stop
`)
	return nil
}

func readPolicy(path string) (*rules.Set, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := rules.ReadPolicy(data)
	if err != nil {
		return nil, err
	}
	p.Cluster.Families = []string{"IPv6"}
	return rules.NewSet(p), nil
}

// apply returns kubectl's exit code and everything it said.
func apply(ctx context.Context, c *cluster.Cluster, path string, more ...string) (int, string, error) {
	out, stderr, code, err := c.Kubectl(ctx, "", append([]string{"apply", "-f", path}, more...)...)
	return code, strings.TrimSpace(stderr + out), err
}

// show applies one example and prints both answers and the difference between the manifest and what was stored.
func show(ctx context.Context, c *cluster.Cluster, set *rules.Set, e example) error {
	code, after, err := apply(ctx, c, e.path)
	if err != nil {
		return err
	}
	name := "examples/" + filepath.Base(e.path)
	fmt.Printf("\n%s\n", bold(name))
	if strings.Contains(e.before, "no matches for kind") { // a file for kubeadm, or resources of a system that is not here
		return audit(ctx, e.path)
	}
	quote("without Sixgate", strings.ReplaceAll(e.before, e.path, name))
	quote("with Sixgate", strings.ReplaceAll(after, e.path, name))
	if code != 0 {
		return nil
	}
	silent := strings.Count(after, "Warning:") == strings.Count(e.before, "Warning:") // of Sixgate
	f, err := os.Open(e.path)
	if err != nil {
		return err
	}
	defer f.Close()
	docs, errs := manifest.Read(e.path, f)
	if len(errs) > 0 {
		return errs[0]
	}
	for _, doc := range docs {
		out, stderr, code, err := c.Kubectl(ctx, "", "get", doc.Object.Kind(), doc.Object.Name(), "-o", "json")
		if err != nil || code != 0 {
			return fmt.Errorf("read back %s: %s %w", name, stderr, err)
		}
		stored, err := rules.ParseObject([]byte(out))
		if err != nil {
			return err
		}
		written, repaired := doc.Object, doc.Object.Copy()
		mutate.Apply(set, &rules.Request{Object: repaired, Operation: rules.Create, Namespace: "default"})
		was, err := yaml.Marshal(written.Root())
		if err != nil {
			return err
		}
		is, err := yaml.Marshal(pick(stored.Root(), repaired.Root(), written.Root()))
		if err != nil {
			return err
		}
		change := string(diff.Diff("manifest", was, "stored", is))
		quote("stored", body(change))
		silent = silent && change == ""
	}
	if silent {
		return audit(ctx, e.path)
	}
	return nil
}

// audit prints the findings of an audit: what the webhook is not asked about, or cannot see.
func audit(ctx context.Context, path string) error {
	root := filepath.Dir(filepath.Dir(path))
	cmd := exec.CommandContext(ctx, filepath.Join(root, "bin", "sixgate"), "audit", "--policy", "examples/policy.yaml", "--fail-on", "none", "examples/"+filepath.Base(path))
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("audit %s: %w", path, err)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "examples/") {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	if len(lines) == 0 {
		lines = []string{"nothing to say"}
	}
	quote("sixgate audit", strings.Join(lines, "\n"))
	return nil
}

// pick reduces what was stored to the fields that the manifest, or its repair, has: the API server's defaults are left out.
func pick(stored any, shapes ...any) any {
	switch s := stored.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, v := range s {
			var below []any
			for _, shape := range shapes {
				if m, ok := shape.(map[string]any); ok {
					if e, ok := m[k]; ok {
						below = append(below, e)
					}
				}
			}
			if len(below) > 0 {
				out[k] = pick(v, below...)
			}
		}
		return out
	case []any:
		out := make([]any, len(s))
		for i, v := range s {
			var below []any
			for _, shape := range shapes {
				if l, ok := shape.([]any); ok && i < len(l) {
					below = append(below, l[i])
				}
			}
			out[i] = v
			if len(below) > 0 {
				out[i] = pick(v, below[0])
			}
		}
		return out
	}
	return stored
}

// body is a diff without its header.
func body(d string) string {
	if d == "" {
		return "as written"
	}
	_, d, _ = strings.Cut(d, "@@\n")
	return strings.TrimRight(d, "\n")
}

func quote(title, text string) {
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			title = ""
		}
		fmt.Printf("  %-16s| %s\n", title, line)
	}
}

func say(text string) { fmt.Println(bold(text)) }

func bold(text string) string {
	if term.IsTerminal(int(os.Stdout.Fd())) {
		return "\x1b[1m" + text + "\x1b[0m"
	}
	return text
}
