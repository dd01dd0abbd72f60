// Command bench measures Sixgate beside its peers, all in one run on one machine, and writes what it measured as Markdown.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sixgate/sixgate/e2e/cluster"
)

type options struct {
	short bool
	only  string
	input string
	out   string
	large bool
	peers bool
	limit time.Duration
	build bool // and nothing else
}

// manifestsEnv is the path of Kyverno's manifests, for the process that has no network.
const manifestsEnv = "SIXGATE_BENCH_KYVERNO"

// imageEnv is the size of the image, for the same process.
const imageEnv = "SIXGATE_BENCH_IMAGE"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "floor" {
		os.Exit(report(serveFloor(os.Args[2:])))
	}
	var o options
	flag.BoolVar(&o.short, "short", false, "few rounds and small inputs: to see that it works")
	flag.StringVar(&o.only, "only", strings.Join(allParts(), ","), "parts to measure; scale is sizes, replicas and live")
	flag.StringVar(&o.input, "input", "", "folders of manifests for the audit, separated by commas; none: those of this repository")
	flag.StringVar(&o.out, "out", "", "file for the results; none: standard output")
	flag.BoolVar(&o.large, "large", false, "also what takes long: an audit of 1 GB of files and of a cluster with 200,000 objects")
	flag.DurationVar(&o.limit, "limit", 5*time.Minute, "time for the rounds of a part, of which three are made whatever they take")
	flag.BoolVar(&o.peers, "peers", true, "build and measure the peers; without them Sixgate, the floor and the API server's own policies are left")
	flag.BoolVar(&o.build, "prepare", false, "only build what is measured")
	flag.Parse()
	parts := o.parts()
	for _, part := range parts {
		if !slices.Contains(allParts(), part) {
			os.Exit(report(fmt.Errorf("no part %q: %s, or scale", part, strings.Join(allParts(), ", "))))
		}
	}
	o.peers = o.peers && (slices.Contains(parts, "audit") || slices.Contains(parts, "admission"))
	if cluster.Outermost() {
		if err := prepare(context.Background(), o); err != nil {
			os.Exit(report(err))
		}
		if o.build {
			return
		}
	}
	os.Exit(cluster.Main(func() int { return report(measure(o)) }))
}

// allParts is what there is to measure: programs that read files, an API server with webhooks, and for Sixgate alone files by their size,
// replicas of the webhook, and clusters with many objects.
func allParts() []string { return []string{"audit", "admission", "sizes", "replicas", "live"} }

// parts are those that were asked for.
func (o options) parts() []string {
	return strings.Split(strings.ReplaceAll(o.only, "scale", "sizes,replicas,live"), ",")
}

func report(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// prepare builds what is measured, where there is a network.
func prepare(ctx context.Context, o options) error {
	root, err := cluster.Root()
	if err != nil {
		return err
	}
	if _, err := cluster.BuildSixgate(ctx); err != nil {
		return err
	}
	if !o.short && slices.Contains(o.parts(), "replicas") {
		size, err := imageSize(ctx, root)
		if err != nil {
			return err
		}
		if err := os.Setenv(imageEnv, fmt.Sprintf("The image is %.1f MB to download, %.1f MB on disk (linux/amd64; tools/release).\n\n", float64(size.compressed)/1e6, float64(size.files)/1e6)); err != nil {
			return err
		}
	}
	if !o.peers {
		return nil
	}
	peers, err := cluster.FindPeers(ctx, true, os.Stderr)
	if err != nil {
		return err
	}
	manifests, err := kyvernoManifests(ctx, root, peers.Kyverno.Module)
	if err != nil {
		return err
	}
	return os.Setenv(manifestsEnv, manifests)
}

func measure(o options) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root, err := cluster.Root()
	if err != nil {
		return err
	}
	var peers cluster.Peers
	if o.peers {
		if peers, err = cluster.FindPeers(ctx, false, os.Stderr); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "sixgate-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	var f figures
	var out strings.Builder
	fmt.Fprintf(&out, "# Sixgate beside its peers\n\nWritten by `make bench` on %s. %s; load average before the run %s.\n\n",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), machine(), load())
	if o.peers {
		t := table{{"peer, built from the Go module proxy", "version"}}
		for _, p := range []cluster.Peer{peers.Kyverno, peers.Gator, peers.Conftest, peers.KubeScore} {
			t.row(p.Module, p.Version)
		}
		fmt.Fprintln(&out, t)
	}
	parts := o.parts()
	folders := []string{filepath.Join(root, "examples"), filepath.Join(root, "e2e/testdata"), filepath.Join(root, "bench/testdata")}
	if o.input != "" {
		folders = append(strings.Split(o.input, ","), filepath.Join(root, "bench/testdata"))
	}
	a := auditor{
		checkers: checkers(filepath.Join(root, "bin/sixgate"), filepath.Join(root, "bench/policies"), peers),
		rounds:   5, limit: o.limit, same: 10e6, alone: []int64{10e6, 100e6}, folders: folders, dir: dir, log: os.Stderr,
	}
	if !o.peers {
		a.checkers = a.checkers[:1]
	}
	if o.large {
		a.alone = append(a.alone, 1e9)
	}
	if o.short {
		a.rounds, a.same, a.alone = 1, 1e6, []int64{2e6, 5e6}
	}
	if slices.Contains(parts, "audit") { // first, while this process is small: a child's peak counts from its parent's size
		if err := a.measure(ctx, &f, &out); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
	}
	if slices.Contains(parts, "admission") {
		if err := onCluster(ctx, func(c *cluster.Cluster, l *loader) error { return admission(ctx, o, root, c, l, peers, &f, &out) }); err != nil {
			return fmt.Errorf("admission: %w", err)
		}
	}
	if slices.ContainsFunc(parts, func(part string) bool { return slices.Contains(allParts()[2:], part) }) {
		fmt.Fprintf(&out, "## Scale\n\n")
	}
	if slices.Contains(parts, "sizes") {
		if err := a.sizes(ctx, &f, &out); err != nil {
			return fmt.Errorf("sizes: %w", err)
		}
	}
	if slices.Contains(parts, "replicas") {
		if err := onCluster(ctx, func(c *cluster.Cluster, l *loader) error { return replicas(ctx, c, l, o, root, &f, &out, os.Stderr) }); err != nil {
			return fmt.Errorf("replicas: %w", err)
		}
	}
	if slices.Contains(parts, "live") {
		if err := onCluster(ctx, func(c *cluster.Cluster, l *loader) error { return live(ctx, c, l, o, root, &f, &out, os.Stderr) }); err != nil {
			return fmt.Errorf("live: %w", err)
		}
	}
	f.write(&out)
	if o.out == "" {
		_, err := io.WriteString(os.Stdout, out.String())
		return err
	}
	return os.WriteFile(o.out, []byte(out.String()), 0o644)
}

func admission(ctx context.Context, o options, root string, c *cluster.Cluster, l *loader, peers cluster.Peers, f *figures, out io.Writer) error {
	b := &bed{c: c, l: l, setups: setups(), started: map[string]float64{}, log: os.Stderr}
	if !o.peers {
		b.setups = slices.DeleteFunc(b.setups, func(s setup) bool { return slices.Contains(s.process, "kyverno") })
	}
	if err := b.prepare(ctx, root); err != nil {
		return err
	}
	if o.peers {
		k := kyvernoSource{peers.Kyverno.Path, os.Getenv(manifestsEnv)}
		if err := b.startKyverno(ctx, k, filepath.Join(root, admissionPolicies, "kyverno.yaml")); err != nil {
			return fmt.Errorf("start kyverno: %w", err)
		}
	}
	list, err := burdens(filepath.Join(root, "bench/testdata"))
	if err != nil {
		return err
	}
	if err := b.prove(ctx, list); err != nil {
		return err
	}
	rounds, requests, limit := 20, 100, o.limit
	if o.short {
		rounds, limit = 2, 20*time.Second
	}
	idle := b.resident("VmRSS")
	before, err := l.failedOpen(ctx)
	if err != nil {
		return err
	}
	all := result{}
	if err := b.latency(ctx, list, list[0], all, limit*3/4); err != nil {
		return err
	}
	if rounds, err = b.throughput(ctx, list, all, rounds, requests, limit/4); err != nil {
		return err
	}
	after, err := l.failedOpen(ctx)
	if err != nil {
		return err
	}
	b.write(out, f, list, all, rounds, requests)
	fmt.Fprintf(out, "Calls of webhooks that failed, so that the request went through without: %.0f.\n\n", after-before)
	loaded, peak := b.resident("VmRSS"), b.resident("VmHWM")
	t := table{{"process", "MB resident: started", "after the load", "peak", "seconds from start to ready"}}
	for _, name := range []string{"floor-0", "webhook-0", "kyverno"} {
		started := "–"
		if s, ok := b.started[name]; ok {
			started = number(s)
		}
		if loaded[name] > 0 {
			t.row(name, number(idle[name]), number(loaded[name]), number(peak[name]), started)
		}
	}
	fmt.Fprintln(out, t)
	f.resident = loaded["webhook-0"]
	f.requestCPU = median(all[list[3].name]["sixgate, both"].webhook)
	return nil
}
