package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// figures are what the arithmetic for many clusters starts from; what was not measured in this run is 0.
type figures struct {
	filesPerSecond    float64 // objects of files that an audit reads in a second
	liveSeconds       float64 // an audit of a cluster: for an object
	liveCPU           float64 // the same, of processors
	liveMemory        float64 // MB
	resident          float64 // MB of a webhook that has worked
	requestCPU        float64 // ms of processor for the write of a Pod
	requestsPerMinute float64 // that a webhook sends to the API server

	targets table
}

// target notes an aim, what was measured of what, and whether it is reached.
func (f *figures) target(aim, of string, values []float64, unit string, ok bool) {
	f.note(aim, of, middle(values, unit), reached(ok))
}

func reached(ok bool) string {
	if ok {
		return "yes"
	}
	return "**no**"
}

// bound notes an aim of an estimate; over is how far above the aim it is.
func (f *figures) bound(aim, of string, v interval, unit string, over interval) {
	decided := "unknown: noise"
	if over.high <= 0 || over.low > 0 {
		decided = reached(over.high <= 0)
	}
	f.note(aim, of, v.String()+unit, decided)
}

func (f *figures) note(row ...string) {
	if len(f.targets) == 0 {
		f.targets.row("target", "measured", "", "reached")
	}
	f.targets.row(row...)
}

// An image is what a node downloads and what it stores.
type image struct{ compressed, files int64 }

// imageSize builds the image for linux/amd64 and arm64 and measures the first.
func imageSize(ctx context.Context, root string) (image, error) {
	dir, err := os.MkdirTemp("", "sixgate-bench-image-")
	if err != nil {
		return image{}, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, "go", "run", ".", "-root", root, "-out", dir, "image")
	cmd.Dir = filepath.Join(root, "tools/release")
	if text, err := cmd.CombinedOutput(); err != nil {
		return image{}, fmt.Errorf("build image: %w: %s", err, text)
	}
	layouts, err := filepath.Glob(filepath.Join(dir, "*", "index.json"))
	if err != nil || len(layouts) != 1 {
		return image{}, fmt.Errorf("build image: %d layouts in the output, %w", len(layouts), err)
	}
	type descriptor struct {
		Digest, MediaType string
		Size              int64
		Platform          struct{ Architecture string }
	}
	blob := func(digest string) string {
		return filepath.Join(filepath.Dir(layouts[0]), "blobs", strings.Replace(digest, ":", "/", 1))
	}
	path := layouts[0]
	for range 4 { // index of the layout, index of the platforms, image
		text, err := os.ReadFile(path)
		if err != nil {
			return image{}, err
		}
		var document struct{ Manifests, Layers []descriptor }
		if err := json.Unmarshal(text, &document); err != nil {
			return image{}, err
		}
		for _, m := range document.Manifests {
			if m.Platform.Architecture == "amd64" || len(document.Manifests) == 1 {
				path = blob(m.Digest)
			}
		}
		var size image
		for _, l := range document.Layers {
			size.compressed += l.Size
			n, err := unpacked(blob(l.Digest))
			if err != nil {
				return image{}, fmt.Errorf("read layer %s (%s): %w", l.Digest, l.MediaType, err)
			}
			size.files += n
		}
		if len(document.Layers) > 0 {
			return size, nil
		}
	}
	return image{}, errors.New("measure image: none for amd64 in the layout")
}

// unpacked returns the size of a layer without compression.
func unpacked(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return 0, err
	}
	return io.Copy(io.Discard, z)
}

// startUp measures how long a webhook takes from its start until it answers that it is ready, in ms.
func startUp(ctx context.Context, s *cluster.Sixgate, times int) ([]float64, error) {
	var out []float64
	for range times {
		if err := s.Stop(0); err != nil {
			return nil, err
		}
		begin := time.Now()
		if err := s.Start(0); err != nil {
			return nil, err
		}
		for {
			_, code, err := cluster.Get(ctx, s.Replicas[0].Health+"/readyz")
			if err == nil && code == http.StatusOK {
				break
			}
			if ctx.Err() != nil || time.Since(begin) > time.Minute {
				return nil, fmt.Errorf("wait for the webhook: %w", errors.Join(err, ctx.Err()))
			}
			time.Sleep(2 * time.Millisecond)
		}
		out = append(out, milliseconds(time.Since(begin)))
	}
	return out, nil
}

// requests returns how many requests the API server has answered, by verb, its own to itself among them.
func (l *loader) requests(ctx context.Context) (map[string]float64, error) {
	return l.counter(ctx, "apiserver_request_total", "verb")
}

// failedOpen returns how many calls of webhooks failed, so that the request went through without them.
func (l *loader) failedOpen(ctx context.Context) (float64, error) {
	counts, err := l.counter(ctx, "apiserver_admission_webhook_fail_open_count", "name")
	return counts["all"], err
}

// counter returns a metric of the API server by one of its labels, and all together as "all".
func (l *loader) counter(ctx context.Context, metric, label string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if line := lines.Text(); strings.HasPrefix(line, metric+"{") {
			_, of, _ := strings.Cut(line, label+`="`)
			of, _, _ = strings.Cut(of, `"`)
			value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				return nil, err
			}
			out[of] += value
			out["all"] += value
		}
	}
	return out, lines.Err()
}

// perMinute measures how many requests the API server gets while nobody works.
func (l *loader) perMinute(ctx context.Context, d time.Duration) (float64, error) {
	before, err := l.requests(ctx)
	if err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(d):
	}
	after, err := l.requests(ctx)
	return (after["all"] - before["all"]) / d.Minutes(), err
}

// onCluster measures on a control plane of its own.
func onCluster(ctx context.Context, measure func(*cluster.Cluster, *loader) error) (err error) {
	c, err := cluster.Start(ctx, cluster.Options{Log: os.Stderr})
	if err != nil {
		return err
	}
	defer func() {
		if stopped := c.Stop(); err == nil {
			err = stopped
		}
	}()
	l, err := newLoader(c)
	if err != nil {
		return err
	}
	return measure(c, l)
}

// replicas measures one, two and three webhooks behind one registration: what they cost while they wait, and when there is work.
func replicas(ctx context.Context, c *cluster.Cluster, l *loader, o options, root string, f *figures, out, log io.Writer) error {
	quiet, starts, rounds, requests := 20*time.Second, 7, 5, 600
	if o.short {
		quiet, starts, rounds, requests = 5*time.Second, 2, 1, 100
	}
	list, err := burdens(filepath.Join(root, "bench/testdata"))
	if err != nil {
		return err
	}
	work := list[3]
	l.clients = 16
	b := &bed{c: c, l: l, log: log}
	for _, s := range setups() {
		if s.name == noWebhook || strings.HasSuffix(s.name, ", both") {
			b.setups = append(b.setups, s)
		}
	}
	if err := b.namespaces(ctx); err != nil {
		return err
	}
	alone, err := l.perMinute(ctx, quiet)
	if err != nil {
		return err
	}
	idle := table{{"replicas of the webhook, idle", "requests/min to the API server, all replicas", "MB resident, each", "ms from start to ready"}}
	busy := table{{"replicas", "webhook", "requests/s", "p50 ms", "p99 ms", "ms of processor for a request: webhooks", "kube-apiserver", "share of the busiest replica", "MB resident, each"}}
	var direct strings.Builder
	failed := 0.0
	for n := 1; n <= 3; n++ {
		if err := b.install(ctx, root, n); err != nil {
			return err
		}
		took := "–"
		if n == 1 {
			ms, err := startUp(ctx, b.sixgate, starts)
			if err != nil {
				return err
			}
			took = spread(ms, "")
		}
		time.Sleep(quiet / 6) // what it does once, when it starts
		sent, err := l.perMinute(ctx, quiet)
		if err != nil {
			return err
		}
		resident, err := b.residents("webhook", n)
		if err != nil {
			return err
		}
		f.requestsPerMinute = (sent - alone) / float64(n)
		idle.row(fmt.Sprint(n), number(sent-alone), spread(resident, ""), took)
		fmt.Fprintf(log, "scale: %d replicas idle: %.0f requests a minute, %.0f without\n", n, sent, alone)

		for i, s := range b.setups {
			b.setups[i].process = nil
			if process := map[string]string{"floor, both": "floor", "sixgate, both": "webhook"}[s.name]; process != "" {
				for replica := range n {
					b.setups[i].process = append(b.setups[i].process, fmt.Sprintf("%s-%d", process, replica))
				}
			}
		}
		if err := b.prove(ctx, list); err != nil {
			return err
		}
		all := result{}
		before, err := l.failedOpen(ctx)
		if err != nil {
			return err
		}
		if _, err := b.throughput(ctx, []burden{work}, all, rounds, requests, o.limit/10); err != nil {
			return err
		}
		after, err := l.failedOpen(ctx)
		if err != nil {
			return err
		}
		failed += after - before
		for _, s := range b.setups {
			r, share, cpu, memories := all[work.name][s.name], "–", "–", "–"
			if s.name != noWebhook {
				resident, err := b.residents(strings.TrimSuffix(s.process[0], "-0"), n)
				if err != nil {
					return err
				}
				share, cpu, memories = middle(r.share, ""), middle(r.webhook, ""), spread(resident, "")
			}
			busy.row(fmt.Sprint(n), s.name, middle(r.rate, ""), number(median(r.load)), number(quantile(r.load, 0.99)), cpu, middle(r.api, ""), share, memories)
		}
		if n == 1 {
			if err := b.handlers(ctx, list, o, &direct); err != nil {
				return err
			}
		}
		if err := b.uninstall(); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "### Replicas\n\n%s%s\n", os.Getenv(imageEnv), idle)
	fmt.Fprintf(out, "%s, created by dry run through a real kube-apiserver by %d clients; %d rounds of %d requests for each line, in turn. All replicas, the API server, etcd and the clients "+
		"share the cores of this one machine: more replicas cannot make it faster here. What counts is what a request costs and what each replica keeps. "+
		"Calls of webhooks that failed, so that the request went through without: %.0f. median of the rounds (middle half of them).\n\n%s\n", work.name, l.clients, rounds, requests, failed, busy)
	fmt.Fprintln(out, direct.String())
	return nil
}

// residents returns the memory of replicas, in MB.
func (b *bed) residents(name string, replicas int) ([]float64, error) {
	var out []float64
	for i := range replicas {
		mb, err := memory(b.c.PID(fmt.Sprintf("%s-%d", name, i)), "VmRSS")
		if err != nil {
			return nil, err
		}
		out = append(out, mb)
	}
	return out, nil
}

// write prints what the figures come to for many clusters.
func (f figures) write(w io.Writer) {
	if len(f.targets) > 0 {
		fmt.Fprintf(w, "## Targets\n\nmedian of the rounds (middle half of them); of latencies, estimate (95 %% interval).\n\n%s\n", f.targets)
	}
	const clusters, objects, writes = 1000, 10_000_000, 10
	fmt.Fprintf(w, "## %d clusters, %d million objects: arithmetic from the figures above, not a measurement\n\n", clusters, objects/1_000_000)
	t := table{{"question", "arithmetic", "result"}}
	if f.filesPerSecond > 0 {
		t.row("audit of all objects as files, on this machine", fmt.Sprintf("%d / %s objects/s", objects, number(f.filesPerSecond)), number(objects/f.filesPerSecond/60)+" min")
	}
	if f.liveSeconds > 0 {
		each := objects / clusters
		t.row("audit of one live cluster", fmt.Sprintf("%d objects × %s ms", each, number(f.liveSeconds*1000)), number(float64(each)*f.liveSeconds)+" s")
		t.row("audit of all live clusters one after the other, from one machine", fmt.Sprintf("%d × %s s", clusters, number(float64(each)*f.liveSeconds)), number(objects*f.liveSeconds/60)+" min")
		t.row("processors for that, of the auditor", fmt.Sprintf("%d × %s ms", objects, number(f.liveCPU*1000)), number(objects*f.liveCPU/3600)+" core hours")
	}
	if f.resident > 0 {
		t.row("memory of 2 webhooks in each cluster", fmt.Sprintf("2 × %d × %s MB", clusters, number(f.resident)), number(2*clusters*f.resident/1000)+" GB, "+number(2*f.resident)+" MB in each")
		t.row(fmt.Sprintf("processors of the webhooks, %d writes of Pods a second in each cluster", writes),
			fmt.Sprintf("%d × %d × %s ms", clusters, writes, number(f.requestCPU)), number(clusters*writes*f.requestCPU/1000)+" cores, "+number(writes*f.requestCPU/1000)+" in each")
	}
	if f.requestsPerMinute > 0 {
		t.row("requests of idle webhooks to one API server, 2 replicas", fmt.Sprintf("2 × %s/min", number(f.requestsPerMinute)), number(2*f.requestsPerMinute/60)+" requests/s")
	}
	fmt.Fprintln(w, t)
}
