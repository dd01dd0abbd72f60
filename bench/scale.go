package main

import (
	"bufio"
	"bytes"
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
	"sync"
	"sync/atomic"
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

// bound notes an aim of an estimate that should not be greater than most.
func (f *figures) bound(aim, of string, v interval, unit string, most float64) {
	decided := "unknown: noise"
	if v.high <= most || v.low > most {
		decided = reached(v.high <= most)
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
		if line := lines.Text(); strings.HasPrefix(line, "apiserver_request_total{") {
			_, verb, _ := strings.Cut(line, `verb="`)
			verb, _, _ = strings.Cut(verb, `"`)
			value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				return nil, err
			}
			out[verb] += value
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

// fill stores Pods until there are n, or the limit is over, and returns how many there are. from is how many there were.
func (l *loader) fill(ctx context.Context, namespace string, b burden, from, n int, limit time.Duration) (int, error) {
	var pod map[string]any
	if err := json.Unmarshal(b.body, &pod); err != nil {
		return from, err
	}
	name := pod["metadata"].(map[string]any)["name"].(string)
	end := time.Now().Add(limit)
	var next, stored atomic.Int64
	next.Store(int64(from))
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for client := range errs {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && time.Now().Before(end); i = next.Add(1) - 1 {
				body := bytes.Replace(b.body, []byte(name), fmt.Appendf(nil, "%s-%d", name, i), 1)
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url+"/api/v1/namespaces/"+namespace+"/"+b.resource, bytes.NewReader(body))
				if err != nil {
					errs[client] = err
					return
				}
				req.Header.Set("Content-Type", "application/json")
				resp, err := l.client.Do(req)
				if err != nil {
					errs[client] = err
					return
				}
				answer, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err == nil && resp.StatusCode != http.StatusCreated {
					err = fmt.Errorf("store a Pod: %s: %s", resp.Status, firstLine(string(answer)))
				}
				if err != nil {
					errs[client] = err
					return
				}
				stored.Add(1)
			}
		})
	}
	wg.Wait()
	return from + int(stored.Load()), errors.Join(errs...)
}

// scale measures a webhook that waits, and the audit of a cluster with many objects.
func scale(ctx context.Context, o options, root string, f *figures, out io.Writer, log io.Writer) (err error) {
	c, err := cluster.Start(ctx, cluster.Options{Log: log})
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
	fmt.Fprintf(out, "## Scale\n\n%s\n\n", os.Getenv(imageEnv))
	quiet, sizes, starts := 30*time.Second, []int{10000, 50000}, 7
	if o.large {
		sizes = append(sizes, 200000)
	}
	if o.short {
		quiet, sizes, starts = 5*time.Second, []int{2000}, 2
	}
	alone, err := l.perMinute(ctx, quiet)
	if err != nil {
		return err
	}
	t := table{{"replicas of the webhook, idle", "requests/min to the API server, all replicas", "MB resident, each", "ms from start to ready"}}
	for _, replicas := range []int{1, 3} {
		s, err := c.InstallSixgate(ctx, cluster.SixgateOptions{Replicas: replicas, Policy: filepath.Join(root, "bench/policies/admission/sixgate.yaml")})
		if err != nil {
			return err
		}
		took := "–"
		if replicas == 1 {
			ms, err := startUp(ctx, s, starts)
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
		var resident []float64
		for i := range replicas {
			mb, err := memory(c.PID(fmt.Sprintf("webhook-%d", i)), "VmRSS")
			if err != nil {
				return err
			}
			resident = append(resident, mb)
		}
		f.requestsPerMinute = (sent - alone) / float64(replicas)
		t.row(fmt.Sprint(replicas), number(sent-alone), spread(resident, ""), took)
		fmt.Fprintf(log, "scale: %d replicas idle: %.0f requests a minute, %.0f without\n", replicas, sent, alone)
		for i := range replicas {
			if err := s.Stop(i); err != nil {
				return err
			}
		}
	}
	fmt.Fprintln(out, t)
	for _, kind := range []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} {
		if _, stderr, code, err := c.Kubectl(ctx, "", "delete", kind, "sixgate"); err != nil || code != 0 {
			return fmt.Errorf("remove registrations: %w: %s", err, firstLine(stderr))
		}
	}

	list, err := burdens(filepath.Join(root, "bench/testdata"))
	if err != nil {
		return err
	}
	t = table{{"`sixgate audit --cluster`, Pods", "seconds", "objects/s", "ms of processor for 1,000 objects: sixgate", "kube-apiserver", "requests", "peak MB resident"}}
	stored := 0
	for _, size := range sizes {
		begin := time.Now()
		limit := o.limit / 2
		if o.large {
			limit *= 10
		}
		was := stored
		if stored, err = l.fill(ctx, "default", list[3], stored, size, limit); err != nil {
			return err
		}
		if stored == was {
			break
		}
		size = stored
		fmt.Fprintf(log, "scale: %d Pods stored, %.0f s\n", size, time.Since(begin).Seconds())
		var seconds, rate, cpu, api, asked, peak []float64
		for range 3 {
			before, err := l.requests(ctx)
			if err != nil {
				return err
			}
			used, err := cpuTime(c.PID("kube-apiserver"))
			if err != nil {
				return err
			}
			r, err := execute(ctx, "", filepath.Join(root, "bin/sixgate"), "audit", "--cluster", "--kubeconfig", c.Kubeconfig, "--fail-on=none", "-o", "json")
			if err != nil {
				return err
			}
			if r.code != 0 {
				return fmt.Errorf("audit of a cluster: exit code %d: %s", r.code, firstLine(r.stderr))
			}
			used2, err := cpuTime(c.PID("kube-apiserver"))
			if err != nil {
				return err
			}
			after, err := l.requests(ctx)
			if err != nil {
				return err
			}
			n := float64(size)
			seconds, rate, peak = append(seconds, r.seconds), append(rate, n/r.seconds), append(peak, r.peak)
			cpu, api = append(cpu, r.cpu*1e6/n), append(api, milliseconds(used2-used)*1000/n)
			asked = append(asked, after["all"]-before["all"])
			fmt.Fprintf(log, "scale: audit of %d Pods: %.1f s, %.0f MB\n", size, r.seconds, r.peak)
		}
		f.liveSeconds, f.liveCPU, f.liveMemory = median(seconds)/float64(size), median(cpu)/1e6, median(peak)
		t.row(fmt.Sprint(size), spread(seconds, ""), number(median(rate)), spread(cpu, ""), spread(api, ""), number(median(asked)), spread(peak, ""))
	}
	fmt.Fprintln(out, t)
	return nil
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
