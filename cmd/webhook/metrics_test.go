package main

import (
	"crypto/tls"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
)

// A register takes metrics and keeps what they say of themselves.
type register struct {
	prometheus.Registerer
	labels map[string][]string // by name of the metric, sorted
}

func (r *register) MustRegister(cs ...prometheus.Collector) {
	desc := regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: ".*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)
	for _, c := range cs {
		ch := make(chan *prometheus.Desc, 10)
		c.Describe(ch)
		close(ch)
		for d := range ch {
			m := desc.FindStringSubmatch(d.String())
			if m == nil {
				panic(d.String())
			}
			labels := []string{}
			for _, l := range strings.FieldsFunc(m[2]+","+m[3], func(r rune) bool { return r == ',' }) {
				name, _, _ := strings.Cut(l, "=")
				labels = append(labels, name)
			}
			slices.Sort(labels)
			r.labels[m[1]] = labels
		}
	}
}

type noCerts struct{ certSource }

func (noCerts) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }
func (noCerts) Expiry() (leaf, ca time.Time)                                  { return }

// TestMetricsTable: docs/metrics.md has each metric that is registered, with its labels, and no other.
func TestMetricsTable(t *testing.T) {
	r := &register{labels: map[string][]string{}}
	registerMetrics(r, noCerts{})
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(sixgate_[a-z0-9_]+)` \\|([^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		labels := []string{}
		for _, l := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(row[2], -1) {
			labels = append(labels, l[1])
		}
		slices.Sort(labels)
		documented[row[1]] = labels
	}
	for _, name := range slices.Sorted(maps.Keys(r.labels)) {
		if got, ok := documented[name]; !ok || !slices.Equal(got, r.labels[name]) {
			t.Errorf("%s has the labels %v, in docs/metrics.md %v", name, r.labels[name], got)
		}
		delete(documented, name)
	}
	if len(documented) > 0 {
		t.Errorf("docs/metrics.md has metrics that are not there: %v", documented)
	}
}

// TestLabels: however many namespaces and kinds somebody thinks of, the series are bounded.
func TestLabels(t *testing.T) {
	l := newLabelLimit(2)
	for _, c := range []struct{ namespace, rule, want string }{
		{"a", "r", "a"}, {"a", "s", "a"}, {"b", "r", other}, {"a", "r", "a"}, {"", "r", other},
	} {
		if got := l.label(c.namespace, c.rule); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	l = newLabelLimit(100)
	for namespace, want := range map[string]string{
		"": "", "shop": "shop", "Shop": other, "a.b": other, strings.Repeat("a", 64): other, "a\nb": other, "\xff": other, `a"}`: other,
	} {
		if got := l.label(namespace); got != want {
			t.Errorf("%q: %s", namespace, got)
		}
	}

	_, validate, _ := serve(t, "")
	series := func() int {
		t.Helper()
		r := prometheus.NewRegistry()
		r.MustRegister(requestsTotal, findingsTotal, repeatedTotal, lastRequest)
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, f := range families {
			n += len(f.GetMetric())
		}
		return n
	}
	before := series()
	for i := range 10_000 {
		validate.Handle(t.Context(), request(admissionv1.Create, "Pod", fmt.Sprintf("build-%d", i), boundPod))
		validate.Handle(t.Context(), request(admissionv1.Operation(fmt.Sprint("OP", i)), fmt.Sprint("Kind", i), "shop", "{}"))
	}
	if n := series() - before; n < 3000 || n > 5100 {
		t.Errorf("%d more series after 10,000 namespaces and kinds", n)
	}
}
