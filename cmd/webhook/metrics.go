package main

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The metrics of the webhook, beside those of controller-runtime.
var (
	requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sixgate_requests_total", Help: "Admission requests by webhook, kind, operation and result (allowed, warned, changed, denied, would-be-changed, would-be-denied, error, panic, shed).",
	}, []string{"webhook", "kind", "operation", "result"})
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
	clusterIPv6Only = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sixgate_cluster_ipv6_only", Help: "1 if the cluster's Services are IPv6 only; 0: nothing is rewritten or refused.",
	})
)

// countedNamespaces are the values of the label namespace.
var countedNamespaces = &labelLimit{most: 1000, seen: map[string]bool{}}

// A labelLimit keeps a label from growing without end, as where each build makes a namespace of its own.
type labelLimit struct {
	most int
	mu   sync.Mutex
	seen map[string]bool
}

// label is the value itself, or "other" when there are too many.
func (l *labelLimit) label(value string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.seen[value] {
		if len(l.seen) >= l.most || len(value) > 63 { // longer than a name of a namespace may be
			return "other"
		}
		l.seen[value] = true
	}
	return value
}

// registerMetrics registers all of them, and the expiry of the certificates.
func registerMetrics(r prometheus.Registerer, certs certSource) {
	r.MustRegister(requestsTotal, findingsTotal, repeatedTotal, auditMode, panicsTotal, policyReloadsTotal, policyStale, clusterIPv6Only)
	for name, pick := range map[string]func(leaf, ca time.Time) time.Time{
		"serving": func(leaf, _ time.Time) time.Time { return leaf },
		"ca":      func(_, ca time.Time) time.Time { return ca },
	} {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sixgate_certificate_expiry_timestamp_seconds", Help: "When a certificate of the webhook expires, in Unix seconds; 0 if unknown.",
			ConstLabels: prometheus.Labels{"certificate": name},
		}, func() float64 {
			if t := pick(certs.Expiry()); !t.IsZero() {
				return float64(t.Unix())
			}
			return 0
		}))
	}
}
