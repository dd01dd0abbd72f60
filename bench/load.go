package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A review is what an API server would send for the creation of an object.
type review struct {
	name   string
	path   string
	repair bool // the answer has a patch
	body   []byte
}

// reviews are those of each object for the webhook that repairs, and of those with nothing to repair for the one that judges: that gets
// no others.
func reviews(list []burden) ([]review, error) {
	var out []review
	for _, o := range list {
		if o.skipped {
			continue
		}
		var object struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if err := json.Unmarshal(o.body, &object); err != nil {
			return nil, err
		}
		kind := map[string]string{"group": "", "version": "v1", "kind": object.Kind}
		resource := map[string]string{"group": "", "version": "v1", "resource": o.resource}
		body, err := json.Marshal(map[string]any{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": map[string]any{
			"uid": "0df28fbd-5f5f-11e8-bc74-36e6bb280816", "kind": kind, "requestKind": kind, "resource": resource, "requestResource": resource,
			"name": object.Metadata.Name, "namespace": "shop", "operation": "CREATE", "dryRun": false,
			"userInfo": map[string]any{"username": "system:serviceaccount:kube-system:replicaset-controller", "groups": []string{"system:serviceaccounts", "system:authenticated"}},
			"options":  map[string]string{"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
			"object":   json.RawMessage(o.body), "oldObject": nil,
		}})
		if err != nil {
			return nil, err
		}
		out = append(out, review{o.name + ", /mutate", "/mutate", o.repair, body})
		if !o.repair {
			out = append(out, review{o.name + ", /validate", "/validate", false, body})
		}
	}
	return out, nil
}

// A direct is a webhook that is asked without an API server in between, by HTTPS and with kept connections, as an API server asks.
type direct struct {
	name, process string
	url           string
	tls           *tls.Config
	http2         bool
}

// direct returns the server behind a registration, by the address of one replica.
func (b *bed) direct(ctx context.Context, name, registration, process, address string, http2 bool) (direct, error) {
	text, err := b.kubectl(ctx, "", "get", "mutatingwebhookconfigurations", registration, "-o", "json")
	if err != nil {
		return direct{}, err
	}
	var r struct {
		Webhooks []struct {
			ClientConfig struct {
				CABundle []byte
				Service  struct{ Name, Namespace string }
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return direct{}, err
	}
	pool, client := x509.NewCertPool(), r.Webhooks[0].ClientConfig
	if !pool.AppendCertsFromPEM(client.CABundle) {
		return direct{}, fmt.Errorf("no CA in the registration %s", registration)
	}
	config := &tls.Config{RootCAs: pool, ServerName: client.Service.Name + "." + client.Service.Namespace + ".svc", MinVersion: tls.VersionTLS12}
	return direct{name, process, "https://" + address, config, http2}, nil
}

// client keeps as many connections.
func (d direct) client(connections int) *http.Client {
	t := &http.Transport{TLSClientConfig: d.tls.Clone(), MaxIdleConnsPerHost: connections, Protocols: new(http.Protocols)}
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(d.http2)
	return &http.Client{Transport: t, Timeout: 35 * time.Second}
}

// ask sends a review and returns the status, which is 200 or 429.
func (d direct) ask(ctx context.Context, client *http.Client, r review) (status int, protocol string, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url+r.path, bytes.NewReader(r.body))
	if err != nil {
		return 0, "", nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusTooManyRequests {
		err = fmt.Errorf("ask %s: %s: %s", d.name, resp.Status, firstLine(string(answer)))
	}
	return resp.StatusCode, resp.Proto, answer, err
}

// prove checks that a webhook does what it is measured for, and returns the protocol that it speaks.
func (d direct) prove(ctx context.Context, list []review) (protocol string, err error) {
	client := d.client(1)
	defer client.CloseIdleConnections()
	for _, r := range list {
		_, proto, text, err := d.ask(ctx, client, r)
		if err != nil {
			return "", err
		}
		var answer struct {
			Response struct {
				Allowed bool
				Patch   []byte
			}
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			return "", fmt.Errorf("read answer of %s: %w", d.name, err)
		}
		if !answer.Response.Allowed || (len(answer.Response.Patch) > 0) != r.repair {
			return "", fmt.Errorf("%s answers to %s: %s", d.name, r.name, text)
		}
		protocol = proto
	}
	return protocol, nil
}

// handlers measures one webhook of Sixgate and one floor, which are installed, without an API server in between.
func (b *bed) handlers(ctx context.Context, list []burden, o options, out io.Writer) error {
	all, err := reviews(list)
	if err != nil {
		return err
	}
	limit, window, rounds, levels := 30*time.Second, 1500*time.Millisecond, 3, []int{1, 4, 16, 64, 256}
	if o.short {
		limit, window, rounds, levels = 2*time.Second, 200*time.Millisecond, 1, []int{1, 16, 256}
	}
	var servers []direct
	for _, s := range []struct {
		name, registration, process, address string
		http2                                bool
	}{
		{"floor", "floor", "floor-0", b.floorAddress, false},
		{"sixgate", "sixgate", "webhook-0", b.sixgate.Replicas[0].Address, false},
		{"floor, HTTP/2", "floor", "floor-0", b.floorAddress, true},
		{"sixgate, HTTP/2", "sixgate", "webhook-0", b.sixgate.Replicas[0].Address, true},
	} {
		d, err := b.direct(ctx, s.name, s.registration, s.process, s.address, s.http2)
		if err != nil {
			return err
		}
		protocol, err := d.prove(ctx, all)
		if err != nil {
			return err
		}
		fmt.Fprintf(b.log, "handlers: %s speaks %s\n", s.name, protocol)
		if s.http2 == strings.HasPrefix(protocol, "HTTP/2") { // Sixgate offers HTTP/1.1 alone
			servers = append(servers, d)
		}
	}
	fmt.Fprint(out, `### Without an API server

AdmissionReviews go from here to one webhook, by TLS on connections that are kept. Sender and webhook share the cores. Sixgate does not offer HTTP/2, which API servers
do not speak to webhooks; the floor does.

`)
	t := table{{"review, one at a time", "bytes", "blocks", "floor, p50 ms", "sixgate", "added ms", "floor, p99 ms", "sixgate", "added ms"}}
	clients := []*http.Client{servers[0].client(1), servers[1].client(1)}
	var lines []line
	for _, r := range all {
		for i, d := range servers[:2] {
			lines = append(lines, line{func(ctx context.Context) error { _, _, _, err := d.ask(ctx, clients[i], r); return err }, 1})
		}
	}
	took, err := paired(ctx, lines, 100, limit)
	if err != nil {
		return err
	}
	for i, r := range all {
		floor, six := took[2*i], took[2*i+1]
		t.row(r.name, fmt.Sprint(len(r.body)), fmt.Sprint(len(floor)),
			number(median(floor)), number(median(six)), bootstrap(len(floor), addedMedian(six, floor)).String(),
			number(quantile(floor, 0.99)), number(quantile(six, 0.99)), bootstrap(len(floor), addedTail(six, floor)).String())
	}
	fmt.Fprintln(out, t)

	fmt.Fprintf(out, "All of these reviews by turns, from so many clients, each of which waits for its answer; %d rounds of %v for each line, in turn. median (least–greatest); p50 and p99 of all requests.\n\n", rounds, window)
	t = table{{"clients", "webhook", "requests/s", "by the floor's", "p50 ms", "p99 ms", "turned away (429)", "ms of processor for a request", "by the floor's", "MB resident"}}
	for _, n := range levels {
		measured := make([]burst, len(servers))
		for round := range rounds {
			for i := range servers {
				i = (i + round) % len(servers)
				if err := b.burst(ctx, servers[i], all, n, window, &measured[i]); err != nil {
					return err
				}
			}
		}
		for i, m := range measured {
			rate, cpu := "–", "–"
			if i > 0 {
				rate, cpu = spread(ratios(m.rate, measured[0].rate), "×"), spread(ratios(m.cpu, measured[0].cpu), "×")
			}
			t.row(fmt.Sprint(n), servers[i].name, spread(m.rate, ""), rate, number(median(m.took)), number(quantile(m.took, 0.99)), fmt.Sprint(m.shed), spread(m.cpu, ""), cpu, number(m.resident))
		}
		fmt.Fprintf(b.log, "handlers: %d clients\n", n)
	}
	fmt.Fprintln(out, t)
	return nil
}

// A burst is what was measured of one webhook with one number of clients.
type burst struct {
	rate, cpu []float64 // for each round: requests a second, ms of processor for a request
	took      []float64 // ms of each request that was answered with 200
	shed      int
	resident  float64 // MB, at the end
}

// burst lets clients ask for a while, after a tenth of that in which they open their connections.
func (b *bed) burst(ctx context.Context, d direct, list []review, n int, window time.Duration, into *burst) error {
	client := d.client(n)
	defer client.CloseIdleConnections()
	ask := func(window time.Duration) (took []float64, shed int, err error) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		var errs []error
		end := time.Now().Add(window)
		for c := range n {
			wg.Go(func() {
				var mine []float64
				turned := 0
				var err error
				for i := c; time.Now().Before(end); i++ {
					begin := time.Now()
					status, _, _, failed := d.ask(ctx, client, list[i%len(list)])
					if err = failed; err != nil {
						break
					}
					if status == http.StatusTooManyRequests {
						turned++
						continue
					}
					mine = append(mine, milliseconds(time.Since(begin)))
				}
				mu.Lock()
				defer mu.Unlock()
				took, shed, errs = append(took, mine...), shed+turned, append(errs, err)
			})
		}
		wg.Wait()
		return took, shed, errors.Join(errs...)
	}
	if _, _, err := ask(window / 10); err != nil {
		return err
	}
	before, err := b.used([]string{d.process})
	if err != nil {
		return err
	}
	begin := time.Now()
	took, shed, err := ask(window)
	if err != nil {
		return err
	}
	seconds := time.Since(begin).Seconds()
	after, err := b.used([]string{d.process})
	if err != nil {
		return err
	}
	into.took, into.shed = append(into.took, took...), into.shed+shed
	into.rate = append(into.rate, float64(len(took))/seconds)
	into.cpu = append(into.cpu, (after[0]-before[0])/float64(len(took)+shed))
	into.resident, err = memory(b.c.PID(d.process), "VmRSS")
	return err
}
