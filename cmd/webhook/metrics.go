package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The metrics of the webhook, beside those of controller-runtime.
var (
	requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sixgate_requests_total", Help: "Admission requests by webhook, kind, operation and result (allowed, warned, changed, denied, error, panic).",
	}, []string{"webhook", "kind", "operation", "result"})
	findingsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sixgate_findings_total", Help: "Findings by rule and action (changed, warned, denied, skipped).",
	}, []string{"rule", "action"})
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

// registerMetrics registers all of them, and the expiry of the certificates.
func registerMetrics(r prometheus.Registerer, certs certSource) {
	r.MustRegister(requestsTotal, findingsTotal, panicsTotal, policyReloadsTotal, policyStale, clusterIPv6Only)
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
