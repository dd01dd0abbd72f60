package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"
)

// options are the flags of the webhook.
type options struct {
	policy     string
	port       int
	metrics    string
	health     string
	namespace  string
	service    string
	secret     string
	name       string
	certDir    string
	caLife     time.Duration
	leafLife   time.Duration
	overlap    time.Duration
	poll       time.Duration
	policyPoll time.Duration
	logLevel   zapcore.Level
	kubeconfig string
	version    bool
	check      time.Duration
	enforce    string
	events     bool
	clientCA   string
	clients    string

	shutdownDelay time.Duration
}

// enforced are the webhooks of --enforce.
func (o *options) enforced() []string { return commas(o.enforce) }

func commas(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

// parseOptions reads flags and checks what can be checked without a cluster.
func parseOptions(args []string) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("sixgate-webhook", flag.ContinueOnError)
	fs.StringVar(&o.policy, "policy", "", "policy file; none: the default policy")
	fs.IntVar(&o.port, "port", 9443, "port of the webhook, on [::]")
	fs.StringVar(&o.metrics, "metrics-bind-address", "[::]:8080", "address of the metrics; 0: none")
	fs.StringVar(&o.health, "health-probe-bind-address", "[::]:8081", "address of /healthz and /readyz")
	fs.StringVar(&o.namespace, "namespace", cmpEnv("POD_NAMESPACE", "sixgate-system"), "namespace of the webhook's Service and Secret")
	fs.StringVar(&o.service, "service-name", "sixgate-webhook", "Service in front of the webhook, named by its certificate")
	fs.StringVar(&o.secret, "secret-name", "sixgate-webhook-ca", "Secret that keeps the self-managed CA")
	fs.StringVar(&o.name, "registration-name", "sixgate", "name of the two webhook registrations that carry the CA")
	fs.StringVar(&o.certDir, "cert-dir", "", "folder of a mounted Secret with tls.crt and tls.key; none: certificates are self-managed")
	fs.DurationVar(&o.caLife, "ca-duration", 365*24*time.Hour, "life of a self-managed CA; it is replaced after two thirds")
	fs.DurationVar(&o.leafLife, "certificate-duration", 7*24*time.Hour, "life of a self-managed serving certificate")
	fs.DurationVar(&o.overlap, "ca-overlap", 2*time.Minute, "how long a new CA is published before it signs")
	fs.DurationVar(&o.poll, "ca-poll-interval", 10*time.Second, "how often the CA's Secret and the registrations are looked at")
	fs.DurationVar(&o.policyPoll, "policy-poll-interval", 5*time.Second, "how often the policy file is looked at; the cluster's families every twelfth time")
	fs.TextVar(&o.logLevel, "log-level", zapcore.InfoLevel, "debug, info, warn or error")
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; none: $KUBECONFIG, else the pod's service account")
	fs.DurationVar(&o.shutdownDelay, "shutdown-delay", 5*time.Second, "how long requests are still answered after SIGTERM")
	fs.DurationVar(&o.check, "check", 0, "do not serve: wait this long until the API server has asked the webhook and got an answer, then stop")
	fs.StringVar(&o.enforce, "enforce", "", "with --check: set failurePolicy to Fail once it has answered; mutate, validate or mutate,validate")
	fs.BoolVar(&o.events, "events", false, "write an Event on what is refused, or would be; dry runs are left out")
	fs.StringVar(&o.clientCA, "client-ca-file", "", "CAs, PEM, of the certificates that API servers must show; none: everybody is answered")
	fs.StringVar(&o.clients, "client-names", "", "with --client-ca-file: common or DNS names that such a certificate may have, by commas; none: any")
	fs.BoolVar(&o.version, "version", false, "print the version and stop")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	if o.port < 1 || o.port > 65535 {
		return nil, fmt.Errorf("--port %d must be from 1 to 65535", o.port)
	}
	if o.shutdownDelay < 0 {
		return nil, errors.New("--shutdown-delay must not be negative")
	}
	if o.policyPoll <= 0 {
		return nil, errors.New("--policy-poll-interval must be positive")
	}
	for _, verb := range o.enforced() {
		if !slices.Contains(verbs(), verb) {
			return nil, fmt.Errorf("--enforce: %q must be mutate or validate", verb)
		}
	}
	switch {
	case o.check < 0:
		return nil, errors.New("--check must not be negative")
	case o.clients != "" && o.clientCA == "":
		return nil, errors.New("--client-names needs --client-ca-file")
	case o.enforce != "" && o.check == 0:
		return nil, errors.New("--enforce needs --check")
	case o.events && o.check > 0:
		return nil, errors.New("--events does nothing with --check")
	}
	if o.certDir == "" {
		if err := o.certOptions().validate(); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func cmpEnv(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func (o *options) certOptions() certOptions {
	host := o.service + "." + o.namespace + ".svc"
	return certOptions{
		Namespace: o.namespace, Secret: o.secret, Mutating: o.name, Validating: o.name,
		DNSNames:     []string{host, host + ".cluster.local", o.service + "." + o.namespace},
		LeafDuration: o.leafLife, CADuration: o.caLife, Overlap: o.overlap, PollInterval: o.poll,
	}
}
