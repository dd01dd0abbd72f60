package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// A setup is what stands in the way of a write. Each has a namespace of its own, by whose labels alone it is chosen: so all are
// there all the time, and a round visits them one after the other.
type setup struct {
	name, does string
	labels     string   // of its namespace
	process    []string // names of the processes that answer
	repairs    bool     // it makes an IPv4 Service one that the API server takes
	others     bool     // neither Sixgate nor what it is divided by
	floor      string   // the setup that does nothing with as many registrations; "": compared to none
}

const noWebhook = "no webhook"

func setups() []setup {
	return []setup{
		{name: noWebhook, does: "nothing"},
		{name: "floor, mutating", does: "net/http, allows; a constant patch where Sixgate has one", labels: "bench-mutate: floor", process: []string{"floor-0"}, repairs: true},
		{name: "sixgate, mutating", does: "all rules that repair", labels: "bench-mutate: sixgate", process: []string{"webhook-0"}, repairs: true, floor: "floor, mutating"},
		{name: "floor, both", does: "the same with a second registration", labels: "{bench-mutate: floor, bench-validate: floor}", process: []string{"floor-0"}, repairs: true},
		{name: "sixgate, both", does: "all rules: repairs and judges", labels: "{bench-mutate: sixgate, bench-validate: sixgate}", process: []string{"webhook-0"}, repairs: true, floor: "floor, both"},
		{name: "policies", others: true, does: "MutatingAdmissionPolicy, the two repairs (policies/admission/policies.yaml)", labels: "bench-policies: simple", repairs: true},
		{name: "sixgate export", others: true, does: "the policies that Sixgate exports for 5 rules, with all forms of the faults", labels: "bench-policies: export", repairs: true},
		{name: "kyverno ClusterPolicy", others: true, does: "Kyverno's older policies, the two repairs and one judgement (policies/admission/kyverno.yaml)", labels: "bench: kyverno-clusterpolicy", process: []string{"kyverno"}, repairs: true, floor: "floor, both"},
		{name: "kyverno", others: true, does: "its CEL policies, MutatingPolicy and ValidatingPolicy, for the same. Kyverno puts their matchConditions into the registration: it is not asked about a Service with nothing to repair", labels: "bench: kyverno", process: []string{"kyverno"}, repairs: true, floor: "floor, both"},
	}
}

// A burden is an object that is created again and again, by dry run.
type burden struct {
	name     string
	resource string
	repair   bool // it needs a repair
	skipped  bool // by the matchConditions of all registrations
	body     []byte
}

func burdens(testdata string) ([]burden, error) {
	var out []burden
	add := func(b burden, edit func(text string) string) error {
		err := b.read(testdata, edit)
		out = append(out, b)
		return err
	}
	replace := func(pairs ...string) func(string) string { return strings.NewReplacer(pairs...).Replace }
	return out, errors.Join(
		add(burden{name: "Service, nothing to repair", resource: "services"}, replace("FAMILY", "IPv6", "MARK", "none")),
		add(burden{name: "Service, IPv4", resource: "services", repair: true}, replace("FAMILY", "IPv4", "MARK", "repair")),
		add(burden{name: "Pod, nothing to repair", resource: "pods"}, replace("MARK", "none")),
		add(burden{name: "Pod, two variables and an annotation missing", resource: "pods", repair: true}, func(text string) string {
			var kept strings.Builder
			for line := range strings.Lines(text) {
				if !strings.HasSuffix(strings.TrimSpace(line), "# ready") {
					kept.WriteString(line)
				}
			}
			return strings.ReplaceAll(kept.String(), "MARK", "repair")
		}),
		add(burden{name: "mirror Pod, skipped by matchConditions", resource: "pods", skipped: true}, replace("MARK", "none",
			"  annotations:\n", "  annotations:\n    kubernetes.io/config.mirror: 3c9e0a\n", "  - {name: config, configMap: {name: checkout}}", "  - {name: config, emptyDir: {}}",
			"spec:\n", "spec:\n  nodeName: node-1\n", "    - {name: DATABASE_PASSWORD, valueFrom: {secretKeyRef: {name: checkout, key: password}}}\n", "")),
	)
}

// read makes the body of a file.
func (b *burden) read(testdata string, edit func(text string) string) error {
	text, err := os.ReadFile(filepath.Join(testdata, strings.TrimSuffix(b.resource, "s")+".yaml"))
	if err != nil {
		return err
	}
	b.body, err = yaml.YAMLToJSON([]byte(edit(string(text))))
	return err
}

// visits reports whether a setup is measured with an object.
func (b burden) visits(s setup) bool {
	switch {
	case b.skipped:
		return s.name == noWebhook || strings.HasSuffix(s.name, ", both")
	case b.repair && b.resource == "services":
		return s.repairs
	}
	return true
}

// A series is what was measured of one object in one setup.
type series struct {
	alone []float64 // ms of each request while there is no other: one for each block, the same blocks in all setups
	load  []float64 // ms of each request of the rounds below
	// Of rounds in which several clients ask:
	rate         []float64 // requests a second
	webhook, api []float64 // ms of processor for a request
	share        []float64 // of the busiest replica, of the processor time of all
}

// A loader sends requests by some clients, each of which waits for its answer.
type loader struct {
	client  *http.Client
	url     string
	clients int
}

func newLoader(c *cluster.Cluster) (*loader, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, err
	}
	config.NextProtos = []string{"http/1.1"} // a connection for each client
	client, err := rest.HTTPClientFor(config)
	return &loader{client: client, url: c.URL, clients: 4}, err
}

// create asks for an object by dry run and returns the answer, which must be 201.
func (l *loader) create(ctx context.Context, namespace string, b burden) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url+"/api/v1/namespaces/"+namespace+"/"+b.resource+"?dryRun=All", bytes.NewReader(b.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("create %s in %s: %s: %s", b.name, namespace, resp.Status, firstLine(string(body)))
	}
	return body, err
}

// send creates an object n times and returns how long each request took, in ms, and all together, in seconds.
func (l *loader) send(ctx context.Context, namespace string, b burden, n int) ([]float64, float64, error) {
	took := make([]float64, n)
	errs := make([]error, l.clients)
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for client := range l.clients {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				begin := time.Now()
				if _, err := l.create(ctx, namespace, b); err != nil {
					errs[client] = err
					return
				}
				took[i] = milliseconds(time.Since(begin))
			}
		})
	}
	wg.Wait()
	return took, time.Since(start).Seconds(), errors.Join(errs...)
}

// A bed is a cluster with everything that is measured on it.
type bed struct {
	c       *cluster.Cluster
	sixgate *cluster.Sixgate
	l       *loader
	setups  []setup
	started map[string]float64 // seconds from start to ready
	log     io.Writer
	floors  []func() error // that stop them

	floorAddress string // of the first
}

func namespaceOf(s setup) string {
	return "bench-" + strings.NewReplacer(" ", "-", ",", "").Replace(strings.ToLower(s.name))
}

// kubectl is a command that must succeed.
func (b *bed) kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	stdout, stderr, code, err := b.c.Kubectl(ctx, stdin, args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("kubectl %s: %s", strings.Join(args, " "), firstLine(stderr))
	}
	return stdout, err
}

// prepare makes the namespaces and installs all that is measured but Kyverno.
func (b *bed) prepare(ctx context.Context, root string) error {
	if err := b.namespaces(ctx); err != nil {
		return err
	}
	policies := filepath.Join(root, admissionPolicies)
	if _, err := b.kubectl(ctx, "", "apply", "-f", filepath.Join(policies, "policies.yaml")); err != nil {
		return err
	}
	export := []string{"export", "--policy", filepath.Join(policies, "sixgate.yaml"), "--namespace-selector", "bench-policies=export"}
	for _, rule := range []string{"service-ip-family", "service-ipv4-address", "host-port-ipv4", "api-server-host", "pod-ip-pool"} {
		export = append(export, "--rule", rule)
	}
	exported, err := execute(ctx, "", filepath.Join(root, "bin/sixgate"), export...)
	if err != nil {
		return err
	}
	if _, err := b.kubectl(ctx, string(exported.stdout), "apply", "-f", "-"); err != nil {
		return err
	}
	return b.install(ctx, root, 1)
}

// admissionPolicies is the folder of what the programs are asked.
const admissionPolicies = "bench/policies/admission"

func (b *bed) namespaces(ctx context.Context) error {
	for _, s := range b.setups {
		labels := s.labels
		if !strings.HasPrefix(labels, "{") {
			labels = "{" + labels + "}"
		}
		namespace := fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: %s}\n", namespaceOf(s), labels)
		if _, err := b.kubectl(ctx, namespace, "apply", "-f", "-"); err != nil {
			return err
		}
	}
	return nil
}

// install starts so many servers of Sixgate and of the floor, each for its own namespaces.
func (b *bed) install(ctx context.Context, root string, replicas int) (err error) {
	policy := filepath.Join(root, admissionPolicies, "sixgate.yaml")
	if b.sixgate, err = b.c.InstallSixgate(ctx, cluster.SixgateOptions{Policy: policy, Replicas: replicas}); err != nil {
		return err
	}
	if err := b.startFloor(ctx, replicas); err != nil {
		return fmt.Errorf("start floor: %w", err)
	}
	return b.selectNamespaces(ctx)
}

// uninstall stops the servers; their connections end with them, so that none is left to those of the next install.
func (b *bed) uninstall() error {
	var errs []error
	for i := range b.sixgate.Replicas {
		errs = append(errs, b.sixgate.Stop(i))
	}
	for _, stop := range b.floors {
		errs = append(errs, stop())
	}
	b.floors = nil
	return errors.Join(errs...)
}

const floorNamespace = "bench-floor-system"

// startFloor starts webhooks that do nothing, behind a Service as Sixgate's.
func (b *bed) startFloor(ctx context.Context, replicas int) error {
	keys := filepath.Join(b.c.Dir, "floor")
	ca, err := writeKeys(keys, "floor."+floorNamespace+".svc")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	manifest := fmt.Sprintf(`apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: v1
kind: Service
metadata: {name: floor, namespace: %[1]s}
spec: {ports: [{name: https, port: 443}]}
`, floorNamespace)
	for i := range replicas {
		port, err := freePort()
		if err != nil {
			return err
		}
		stop, err := b.c.StartBeside(fmt.Sprint("floor-", i), self, nil, "floor", "-address", "[::]:"+port, "-keys", keys)
		if err != nil {
			return err
		}
		if b.floors = append(b.floors, stop); i == 0 {
			b.floorAddress = net.JoinHostPort(b.c.Address, port)
		}
		manifest += fmt.Sprintf(`---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: floor-%[4]d
  namespace: %[1]s
  labels: {kubernetes.io/service-name: floor, endpointslice.kubernetes.io/managed-by: bench}
addressType: IPv6
endpoints: [{addresses: [%[2]q], conditions: {ready: true}}]
ports: [{name: https, port: %[3]s}]
`, floorNamespace, b.c.Address, port, i)
	}
	if _, err := b.kubectl(ctx, manifest, "apply", "-f", "-"); err != nil {
		return err
	}
	// The registrations are Sixgate's own, with another server behind them.
	for _, kind := range []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} {
		text, err := b.kubectl(ctx, "", "get", kind, "sixgate", "-o", "json")
		if err != nil {
			return err
		}
		var registration map[string]any
		if err := json.Unmarshal([]byte(text), &registration); err != nil {
			return err
		}
		registration["metadata"] = map[string]any{"name": "floor"}
		webhook := registration["webhooks"].([]any)[0].(map[string]any)
		webhook["name"] = strings.Replace(webhook["name"].(string), "sixgate", "floor", 1)
		webhook["namespaceSelector"] = map[string]any{"matchLabels": map[string]any{label(kind): "floor"}}
		client := webhook["clientConfig"].(map[string]any)
		client["caBundle"] = base64.StdEncoding.EncodeToString(ca)
		service := client["service"].(map[string]any)
		service["name"], service["namespace"] = "floor", floorNamespace
		registration["webhooks"] = []any{webhook}
		changed, err := json.Marshal(registration)
		if err != nil {
			return err
		}
		if _, err := b.kubectl(ctx, string(changed), "apply", "-f", "-"); err != nil {
			return err
		}
	}
	return nil
}

// label is that of the namespaces in which a registration holds.
func label(kind string) string {
	if strings.HasPrefix(kind, "mutating") {
		return "bench-mutate"
	}
	return "bench-validate"
}

// selectNamespaces limits Sixgate's registrations to its own namespaces; nothing else of them is changed.
func (b *bed) selectNamespaces(ctx context.Context) error {
	for _, kind := range []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} {
		patch := fmt.Sprintf(`[{"op":"add","path":"/webhooks/0/namespaceSelector/matchLabels","value":{%q:"sixgate"}}]`, label(kind))
		if _, err := b.kubectl(ctx, "", "patch", kind, "sixgate", "--type=json", "-p", patch); err != nil {
			return err
		}
	}
	return nil
}

// prove checks, until it is so, that each setup does what it is measured for: objects that need a repair come back repaired.
func (b *bed) prove(ctx context.Context, list []burden) error {
	deadline := time.Now().Add(5 * time.Minute)
	for _, s := range b.setups {
		for _, o := range list {
			if !o.visits(s) {
				continue
			}
			for {
				answer, err := b.l.create(ctx, namespaceOf(s), o)
				if err == nil && o.repair && s.repairs && !repaired(answer) {
					err = fmt.Errorf("%s was not repaired by %s", o.name, s.name)
				}
				if err == nil && o.repair && !s.repairs && repaired(answer) {
					err = fmt.Errorf("%s was repaired by somebody without %s", o.name, s.name)
				}
				if err == nil {
					break
				}
				if ctx.Err() != nil || time.Now().After(deadline) {
					return err
				}
				time.Sleep(200 * time.Millisecond)
			}
		}
	}
	return nil
}

func repaired(answer []byte) bool {
	var o struct {
		Kind     string
		Metadata struct{ Annotations map[string]string }
		Spec     struct {
			IPFamilies []string `json:"ipFamilies"`
			Containers []struct{ Env []struct{ Name string } }
		}
	}
	if json.Unmarshal(answer, &o) != nil {
		return false
	}
	if o.Kind == "Service" {
		return slices.Equal(o.Spec.IPFamilies, []string{"IPv6"})
	}
	names := map[string]bool{}
	for _, e := range o.Spec.Containers[0].Env {
		names[e.Name] = true
	}
	return names["KUBERNETES_SERVICE_HOST"] && names["KUBERNETES_SERVICE_PORT"] && o.Metadata.Annotations["cni.projectcalico.org/ipv6pools"] != ""
}

// A result is a series for each setup, by the name of its burden.
type result map[string]map[string]*series

func (r result) of(o burden, s setup) *series {
	if r[o.name] == nil {
		r[o.name] = map[string]*series{}
	}
	if r[o.name][s.name] == nil {
		r[o.name][s.name] = &series{}
	}
	return r[o.name][s.name]
}

// latency sends each object by each setup, one request at a time; each line has as much of the time as each other. A burden that is
// refused without a webhook is compared to base.
func (b *bed) latency(ctx context.Context, list []burden, base burden, into result, limit time.Duration) error {
	all := 0
	lines, measured := make([][]line, len(list)), make([][]*series, len(list))
	for i, o := range list {
		for _, s := range b.setups {
			sent := o
			if !o.visits(s) {
				if sent = base; s.name != noWebhook {
					continue
				}
			}
			every := 1
			if s.others {
				every = 4 // these are slow, and no aim needs their last digit
			}
			lines[i] = append(lines[i], line{func(ctx context.Context) error { _, err := b.l.create(ctx, namespaceOf(s), sent); return err }, every})
			measured[i] = append(measured[i], into.of(o, s))
			all++
		}
	}
	for i, o := range list {
		took, err := paired(ctx, lines[i], 100, limit*time.Duration(len(lines[i]))/time.Duration(all))
		if err != nil {
			return err
		}
		for j, s := range measured[i] {
			s.alone = took[j]
		}
		fmt.Fprintf(b.log, "admission: %s: %d blocks of %d requests\n", o.name, len(took[0]), len(lines[i]))
	}
	return nil
}

// throughput visits all setups with all objects, in rounds, by some clients at once, and returns how many rounds there were: three,
// then as many as begin within the limit.
func (b *bed) throughput(ctx context.Context, list []burden, into result, rounds, requests int, limit time.Duration) (int, error) {
	begin, done := time.Now(), 0
	for round := range rounds {
		if round >= 3 && time.Since(begin) > limit {
			break
		}
		for _, o := range list {
			for i := range b.setups {
				s := b.setups[(i+round)%len(b.setups)] // each comes after each other one
				if !o.visits(s) {
					continue
				}
				if err := b.slice(ctx, o, s, requests, into.of(o, s)); err != nil {
					return 0, err
				}
			}
		}
		done++
		fmt.Fprintf(b.log, "throughput: round %d of %d\n", done, rounds)
	}
	return done, nil
}

// slice measures some requests of one setup, after a few that open the connections.
func (b *bed) slice(ctx context.Context, o burden, s setup, requests int, r *series) error {
	if _, _, err := b.l.send(ctx, namespaceOf(s), o, max(20, 2*b.l.clients)); err != nil {
		return err
	}
	processes := append([]string{"kube-apiserver"}, s.process...)
	before, err := b.used(processes)
	if err != nil {
		return err
	}
	took, seconds, err := b.l.send(ctx, namespaceOf(s), o, requests)
	if err != nil {
		return err
	}
	after, err := b.used(processes)
	if err != nil {
		return err
	}
	var all, busiest float64
	for i := range s.process {
		ms := after[i+1] - before[i+1]
		all, busiest = all+ms, max(busiest, ms)
	}
	n := float64(requests)
	r.load, r.rate = append(r.load, took...), append(r.rate, n/seconds)
	r.webhook, r.api, r.share = append(r.webhook, all/n), append(r.api, (after[0]-before[0])/n), append(r.share, busiest/all)
	return nil
}

// used returns the processor time of some processes, in ms.
func (b *bed) used(processes []string) ([]float64, error) {
	var out []float64
	for _, name := range processes {
		t, err := cpuTime(b.c.PID(name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, milliseconds(t))
	}
	return out, nil
}

// resident returns a size of the webhooks, in MB; those that do not run are left out.
func (b *bed) resident(field string) map[string]float64 {
	out := map[string]float64{}
	for _, name := range []string{"floor-0", "webhook-0", "kyverno"} {
		if pid := b.c.PID(name); pid != 0 {
			if mb, err := memory(pid, field); err == nil {
				out[name] = mb
			}
		}
	}
	return out
}

// write prints a table for each object.
func (b *bed) write(w io.Writer, figures *figures, list []burden, all result, rounds, requests int) {
	fmt.Fprintf(w, `## Admission

A real kube-apiserver and etcd; objects are created by dry run. Each line has a namespace of its own, by which alone its registrations are chosen.

- *Latency*: one client. A block is a request by each line, in an order that is drawn anew for each block; what disturbs the machine disturbs all of a block.
  *added* is over "no webhook": of p50 the median of the differences within a block, of p99 the difference of both p99. *by the floor's* divides it by what the floor
  with as many registrations adds. Lines that are neither Sixgate nor the floor are in each fourth block. In parentheses the 95 %% interval by the bootstrap over blocks; an aim is decided if the interval is on one side of it.
- *Throughput*, and the processor time of a request: %d clients, %d rounds of %d requests for each line, in turn. Median of the rounds (middle half of them).

`, b.l.clients, rounds, requests)
	t := table{{"line", "what it does"}}
	for _, s := range b.setups {
		t.row(s.name, s.does)
	}
	fmt.Fprintln(w, t)
	for _, o := range list {
		series := all[o.name]
		base := series[noWebhook]
		title := o.name
		if len(base.load) == 0 {
			title += " (refused without a repair: *added* is over the Service with nothing to repair)"
		}
		fmt.Fprintf(w, "### %s\n\n%d blocks.\n\n", title, len(base.alone))
		t := table{{"line", "p50 ms", "added ms", "by the floor's", "p99 ms", "added ms", "by the floor's", "requests/s", "ms of processor for a request: webhook", "kube-apiserver"}}
		for _, s := range b.setups {
			r := series[s.name]
			if r == nil || len(r.load) == 0 {
				continue
			}
			row := []string{s.name}
			f := series[s.floor]
			for _, q := range []struct {
				at, aim float64
				added   func(a, base []float64) func(sample []int) float64
			}{{0.5, 1.15, addedMedian}, {0.99, 1.3, addedTail}} {
				added, ratio := "–", "–"
				if s.name != noWebhook {
					added = bootstrap(len(base.alone), q.added(r.alone, base.alone)).String()
				}
				if f != nil && !o.skipped {
					mine, floors := q.added(r.alone, base.alone), q.added(f.alone, base.alone)
					by := bootstrap(len(base.alone), func(sample []int) float64 { return mine(sample) / floors(sample) })
					ratio = by.String() + "×"
					if s.name == "sixgate, both" {
						// Not by the ratio: what the floor adds may be nothing in some samples.
						over := bootstrap(len(base.alone), func(sample []int) float64 { return mine(sample) - q.aim*floors(sample) })
						figures.bound(fmt.Sprintf("added latency at most %v times the floor's, p%v", q.aim, q.at*100), o.name, by, "×", over)
					}
				}
				row = append(row, number(quantile(present(r.alone), q.at)), added, ratio)
			}
			webhook := "–"
			if len(s.process) > 0 {
				webhook = middle(r.webhook, "")
			}
			t.row(append(row, middle(r.rate, ""), webhook, middle(r.api, ""))...)
		}
		fmt.Fprintln(w, t)
		if six := series["sixgate, both"]; six != nil && o.skipped {
			figures.target("requests that matchConditions skip cost nothing", o.name+": ms added, of processor of the webhook", six.webhook, "", median(six.webhook) < 0.01)
			added := bootstrap(len(base.alone), addedMedian(six.alone, base.alone))
			figures.note("… and take no longer, as far as can be measured", o.name+": added, p50, over no webhook", added.String()+" ms", reached(added.low <= 0))
		}
	}
	t = table{{"processor of webhooks for a request", "sixgate, both", "kyverno", "kyverno / sixgate", "kyverno ClusterPolicy", "kyverno ClusterPolicy / sixgate"}}
	for _, o := range list {
		six, kyverno, classic := all[o.name]["sixgate, both"], all[o.name]["kyverno"], all[o.name]["kyverno ClusterPolicy"]
		if six == nil || kyverno == nil || classic == nil {
			continue
		}
		for _, k := range []struct {
			name string
			*series
		}{{"kyverno", kyverno}, {"kyverno ClusterPolicy", classic}} {
			if median(k.webhook) < 0.1 {
				continue // the API server did not ask it
			}
			share := ratios(six.webhook, k.webhook)
			figures.target("processor at most a fifth of Kyverno's", k.name+": "+o.name, share, "×", median(share) <= 0.2)
		}
		t.row(o.name, middle(six.webhook, " ms"), middle(kyverno.webhook, " ms"), middle(ratios(kyverno.webhook, six.webhook), "×"),
			middle(classic.webhook, " ms"), middle(ratios(classic.webhook, six.webhook), "×"))
	}
	if len(t) > 1 {
		fmt.Fprintln(w, t)
	}
}
