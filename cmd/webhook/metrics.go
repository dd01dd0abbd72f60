package main

import (
	"crypto/x509"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The metrics of the webhook, beside those of controller-runtime.
var (
	requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sixgate_requests_total", Help: "Admission requests by webhook, kind, operation and result (allowed, warned, changed, denied, would-be-changed, would-be-denied, error, panic).",
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
		if len(l.seen) >= l.most {
			return "other"
		}
		l.seen[value] = true
	}
	return value
}

// registerMetrics registers all of them, and those of the certificates.
func registerMetrics(r prometheus.Registerer, certs certSource) {
	r.MustRegister(requestsTotal, findingsTotal, repeatedTotal, auditMode, panicsTotal, policyReloadsTotal, policyStale, clusterIPv6Only)
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
