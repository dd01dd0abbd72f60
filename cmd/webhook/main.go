// Command webhook is the admission webhook of Sixgate: /mutate repairs what asks for IPv4 on an IPv6-only cluster, /validate
// refuses what cannot be repaired.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/sixgate/sixgate/cmd/internal/live"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "sixgate-webhook: %v\n", err)
		}
		stop()
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	if o.version {
		fmt.Println(version())
		return nil
	}
	log, err := newLogger(o)
	if err != nil {
		return err
	}
	config, _, err := live.LoadConfig(o.kubeconfig, "", "")
	if err != nil {
		return err
	}
	if o.check > 0 {
		return check(ctx, config, o, log.WithName("check"))
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make Kubernetes client: %w", err)
	}
	policy, err := newPolicyKeeper(o.policy, o.policyPoll, client, log.WithName("policy"))
	if err != nil {
		return err
	}
	certs := newCertSource(o, client, log.WithName("certificates"))
	tlsOptions := []func(*tls.Config){func(c *tls.Config) {
		c.GetCertificate = onceStarted(certs.GetCertificate, policy.Ready, time.Now().Add(startLimit))
	}}
	if o.clientCA != "" {
		clients, err := newClientCheck(o.clientCA, commas(o.clients), log.WithName("clients"))
		if err != nil {
			return err
		}
		tlsOptions = append(tlsOptions, clients.apply) // last: it copies what the others have set
	}
	server := newServer("::", o.port, log.WithName("server"), tlsOptions...)
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Logger:                 log,
		Metrics:                metricsserver.Options{BindAddress: o.metrics},
		HealthProbeBindAddress: o.health,
	})
	if err != nil {
		return fmt.Errorf("make manager: %w", err)
	}
	registerMetrics(metrics.Registry, certs)
	var events *eventSender
	if o.events {
		recorder := mgr.GetEventRecorder("sixgate-webhook")
		events = newEventSender(func(r refusal) {
			recorder.Eventf(r.on, nil, corev1.EventTypeWarning, r.reason, "Validate", "%s", r.note)
		})
		if err := mgr.Add(events); err != nil {
			return fmt.Errorf("add to manager: %w", err)
		}
	}
	limit := newLoad(limitMemory())
	for _, h := range []*handler{
		{name: "mutate", verb: mutateRequest, fights: newFightDetector()},
		{name: "validate", verb: validateRequest(events)},
	} {
		h.set, h.log, h.load, h.sheds, h.rejected = &policy.set, log.WithName("admission"), limit, &occasional{}, &occasional{}
		server.Register("/"+h.name, h)
	}
	for _, r := range []interface {
		Start(context.Context) error
		NeedLeaderElection() bool
	}{policy, certs, server} {
		if err := mgr.Add(r); err != nil {
			return fmt.Errorf("add to manager: %w", err)
		}
	}
	if err := addChecks(mgr, server, policy, certs); err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("stopping", server.drain.ready); err != nil {
		return err
	}
	log.Info("starting", "version", version(), "port", o.port)
	return mgr.Start(server.drain.after(ctx, o.shutdownDelay, log))
}

// startLimit is how long a replica may take to get its certificate and the cluster's families.
const startLimit = 10 * time.Second

// onceStarted is get, for the time until a replica has started. A container that was started again is still among the endpoints of the
// Service; an API server that reaches it then waits in the handshake, for its request would be lost otherwise.
func onceStarted(get func(*tls.ClientHelloInfo) (*tls.Certificate, error), ready func() error, limit time.Time) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		for {
			cert, err := get(hello)
			if err == nil && ready() == nil || time.Now().After(limit) {
				return cert, err
			}
			select {
			case <-hello.Context().Done():
				return nil, hello.Context().Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

func newCertSource(o *options, client kubernetes.Interface, log logr.Logger) certSource {
	opts := o.certOptions()
	if o.certDir != "" {
		return newMountedSecret(o.certDir, opts.DNSNames[0], log)
	}
	opts.Log = log
	return newSelfManaged(client, opts)
}

// addChecks: alive means that the process answers; ready, that API servers trust the certificate, that the cluster's families
// are known, and that the port answers.
func addChecks(mgr ctrl.Manager, server webhook.Server, policy *policyKeeper, certs certSource) error {
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	started := server.StartedChecker()
	log := mgr.GetLogger().WithName("readiness")
	for name, check := range map[string]func() error{"certificates": certs.Ready, "families": policy.Ready} {
		if err := mgr.AddReadyzCheck(name, logChanges(log, name, check)); err != nil {
			return err
		}
	}
	return mgr.AddReadyzCheck("webhook", func(r *http.Request) error {
		if certs.Ready() != nil {
			return errors.New("no certificate yet") // a handshake would only fill the log
		}
		return started(r)
	})
}

// logChanges logs why a check fails, once: the answer to the probe withholds it.
func logChanges(log logr.Logger, name string, check func() error) healthz.Checker {
	var mu sync.Mutex
	last := ""
	return func(*http.Request) error {
		err := check()
		reason := ""
		if err != nil {
			reason = err.Error()
		}
		mu.Lock()
		defer mu.Unlock()
		if reason != last {
			log.Info(name, "ready", err == nil, "reason", reason)
			last = reason
		}
		return err
	}
}

// newLogger makes zap the one logger, of client-go and controller-runtime too: JSON lines on standard error.
func newLogger(o *options) (logr.Logger, error) {
	c := zap.NewProductionConfig()
	c.Level = zap.NewAtomicLevelAt(o.logLevel)
	c.DisableCaller, c.DisableStacktrace = true, true
	c.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	c.Sampling = nil // one line for each changed or refused request
	z, err := c.Build()
	if err != nil {
		return logr.Logger{}, fmt.Errorf("make logger: %w", err)
	}
	log := zapr.NewLogger(z)
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	return log, nil
}

// released is set by the linker (tools/release), so that a release says the same of itself wherever it is built.
var released string

// version is that of the release, or what the build recorded: a tag, or the commit.
func version() string {
	if released != "" {
		return released
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
