package main

import (
	"crypto/x509"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sixgate/sixgate/pkg/rules"
)

// The metrics of the webhook, beside those of controller-runtime.
var (
	requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sixgate_requests_total", Help: "Admission requests by webhook, kind, operation and result (allowed, warned, changed, denied, would-be-changed, would-be-denied, error, panic, shed).",
	}, []string{"webhook", "kind", "operation", "result"})
	requestDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "sixgate_request_duration_seconds", Help: "From the first byte of a request to its answer, waiting for room and turn included.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
	}, []string{"webhook"})
	findingsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sixgate_findings_total", Help: "Findings by rule, action (changed, warned, denied, would-be-changed, would-be-denied, skipped) and namespace.",
	}, []string{"rule", "action", "namespace"})
	repeatedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sixgate_repeated_changes_total", Help: "The same change of the same object for the same user, again and again: somebody writes back what is repaired.",
	}, []string{"kind", "namespace"})
	auditMode = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sixgate_audit_mode", Help: "1 while the policy has mode: audit; enforceNamespaces are not counted.",
	})
	panicsTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sixgate_panics_total", Help: "Panics in a rule; each request went through.",
	})
	policyReloadsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sixgate_policy_reloads_total", Help: "Readings of a changed policy file by result (ok, error).",
	}, []string{"result"})
	policyStale = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sixgate_policy_stale", Help: "1 while the policy file is bad and an older policy is in force.",
	})
	policyInfo = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sixgate_policy_info", Help: "1 for the policy in force, by the beginning of the SHA-256 of its file.",
	}, []string{"digest"})
	failOpen = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sixgate_registration_fail_open", Help: "1 while the registration says Ignore: what does not reach the webhook goes through; 0 while it says Fail.",
	}, []string{"webhook"})
	trusted = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sixgate_registration_trusted", Help: "1 while the registration is there and carries every CA of the webhook; 0: API servers cannot ask it.",
	}, []string{"webhook"})
	lastRequest = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sixgate_last_request_timestamp_seconds", Help: "When this replica was asked last, in Unix seconds.",
	}, []string{"webhook"})
	eventsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sixgate_events_total", Help: "Events on refusals by result (sent, dropped).",
	}, []string{"result"})
	clusterIPv6Only = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sixgate_cluster_ipv6_only", Help: "1 if the cluster's Services are IPv6 only; 0: nothing is rewritten or refused.",
	})
)

// What a label may be is bounded here, since whoever reaches the port can send an AdmissionReview of anything.
var (
	// countedFindings has place for 5,000 combinations of rule, action and namespace; new namespaces are "other" then.
	countedFindings = newLabelLimit(5000)
	// countedFights the same for kind and namespace.
	countedFights = newLabelLimit(1000)
	// countedKinds are those that a rule looks at, and that of the check.
	countedKinds = func() map[string]bool {
		kinds := map[string]bool{"ConfigMap": true}
		for _, r := range rules.All() {
			for _, t := range r.Targets {
				kinds[t.Kind] = true
			}
		}
		return kinds
	}()
)

const other = "other"

func kindLabel(kind string) string {
	if countedKinds[kind] {
		return kind
	}
	return other
}

func operationLabel(op string) string {
	switch op {
	case "CREATE", "UPDATE", "DELETE", "CONNECT":
		return op
	}
	return other
}

// A labelLimit keeps the label namespace from growing without end, as where each build makes a namespace of its own.
type labelLimit struct {
	most int
	mu   sync.Mutex
	seen map[[3]string]bool
}

func newLabelLimit(most int) *labelLimit { return &labelLimit{most: most, seen: map[[3]string]bool{}} }

// label is the namespace, or "other" when it is none or when there are too many together with the other labels.
func (l *labelLimit) label(namespace string, others ...string) string {
	if namespace != "" && len(validation.IsDNS1123Label(namespace)) > 0 {
		return other
	}
	key := [3]string{namespace}
	copy(key[1:], others)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.seen[key] {
		if len(l.seen) >= l.most {
			return other
		}
		l.seen[key] = true
	}
	return namespace
}

// registerMetrics registers all of them, and those of the certificates.
func registerMetrics(r prometheus.Registerer, certs certSource) {
	r.MustRegister(requestsTotal, requestDuration, findingsTotal, repeatedTotal, auditMode, panicsTotal, policyReloadsTotal, policyStale, clusterIPv6Only,
		policyInfo, failOpen, trusted, lastRequest, eventsTotal)
	registerCertificateMetrics(r, certs)
}

func registerCertificateMetrics(r prometheus.Registerer, certs certSource) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sixgate_certificate_stale", Help: "1 while certificates cannot be renewed: the mounted files are bad, or the self-managed CA cannot be read or published.",
	}, func() float64 {
		if certs.Stale() {
			return 1
		}
		return 0
	}))
	seconds := func(certificate, metric, help string, at func(*x509.Certificate) time.Time) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: metric, Help: help, ConstLabels: prometheus.Labels{"certificate": certificate},
		}, func() float64 {
			leaf, ca := certs.Certificates()
			if certificate == "ca" {
				leaf = ca
			}
			if leaf == nil {
				return 0
			}
			return float64(at(leaf).Unix())
		}))
	}
	for _, certificate := range []string{"serving", "ca"} {
		seconds(certificate, "sixgate_certificate_expiry_timestamp_seconds", "When a certificate of the webhook expires, in Unix seconds; 0 if unknown.",
			func(c *x509.Certificate) time.Time { return c.NotAfter })
		seconds(certificate, "sixgate_certificate_start_timestamp_seconds", "Since when a certificate of the webhook is valid, in Unix seconds; 0 if unknown.",
			func(c *x509.Certificate) time.Time { return c.NotBefore })
	}
}
