package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A kyvernoSource is what Kyverno is installed from.
type kyvernoSource struct {
	binary  string
	install string // the manifests of its module
}

// kyvernoManifests returns the path of Kyverno's manifests in the module cache.
func kyvernoManifests(ctx context.Context, root, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = filepath.Join(root, "tools/kyverno")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("download %s: %w: %s", module, err, firstLine(string(out)))
	}
	var m struct{ Dir string }
	if err := json.Unmarshal(out, &m); err != nil {
		return "", err
	}
	return filepath.Join(m.Dir, "config/install-latest-testing.yaml"), nil
}

// startKyverno installs Kyverno as its own manifests do, limited to its namespaces, and starts the admission controller beside the
// API server, with the flags of its Deployment. It returns when the webhooks of the policies are registered.
func (b *bed) startKyverno(ctx context.Context, k kyvernoSource, policies string) error {
	if _, err := b.kubectl(ctx, "", "apply", "--server-side", "-f", k.install); err != nil {
		return err
	}
	if _, err := b.kubectl(ctx, "", "delete", "deployments", "-n", "kyverno", "--all"); err != nil {
		return err
	}
	selector := `{"data":{"webhooks":"{\"namespaceSelector\":{\"matchExpressions\":[{\"key\":\"bench\",\"operator\":\"Exists\"}]}}"}}`
	if _, err := b.kubectl(ctx, "", "patch", "configmap", "kyverno", "-n", "kyverno", "--type=merge", "-p", selector); err != nil {
		return err
	}
	env := []string{"INIT_CONFIG=kyverno", "METRICS_CONFIG=kyverno-metrics", "KYVERNO_NAMESPACE=kyverno", "KYVERNO_POD_NAME=kyverno-0",
		"KYVERNO_SERVICEACCOUNT_NAME=kyverno-admission-controller", "KYVERNO_ROLE_NAME=kyverno:admission-controller", "KYVERNO_SVC=kyverno-svc",
		"KYVERNO_DEPLOYMENT=kyverno-admission-controller"}
	start := time.Now()
	_, err := b.c.StartBeside("kyverno", k.binary, env, "--kubeconfig="+b.c.Kubeconfig, "--serverIP=[::1]:9443", "--webhookServerPort=9443",
		"--caSecretName=kyverno-svc.kyverno.svc.kyverno-tls-ca", "--tlsSecretName=kyverno-svc.kyverno.svc.kyverno-tls-pair",
		"--backgroundServiceAccountName=system:serviceaccount:kyverno:kyverno-background-controller",
		"--reportsServiceAccountName=system:serviceaccount:kyverno:kyverno-reports-controller",
		// As in its Deployment, but without reports, for which there is no controller here: that is less work.
		"--admissionReports=false", "--generateValidatingAdmissionPolicy=false", "--generateMutatingAdmissionPolicy=false", "--disableMetrics=false", "--otelConfig=prometheus",
		"--metricsPort=8000", "--enableDeferredLoading=true", "--loggingFormat=text", "--v=2", "--omitEvents=PolicyApplied,PolicySkipped")
	if err != nil {
		return err
	}
	registered := func(kind string, want string) error {
		text, err := b.kubectl(ctx, "", "get", kind, "-o", "json")
		if err != nil {
			return err
		}
		if !strings.Contains(text, want) {
			return fmt.Errorf("no %s for %s", kind, want)
		}
		return nil
	}
	wait := func(try func() error) error {
		for end := time.Now().Add(5 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
			err := try()
			if err == nil || ctx.Err() != nil || time.Now().After(end) || b.c.PID("kyverno") == 0 {
				return err
			}
		}
	}
	// It registers the webhook for policies once it serves.
	if err := wait(func() error {
		return registered("validatingwebhookconfigurations", "kyverno-policy-validating-webhook-cfg")
	}); err != nil {
		return err
	}
	b.started["kyverno"] = time.Since(start).Seconds()
	if err := wait(func() error { _, err := b.kubectl(ctx, "", "apply", "-f", policies); return err }); err != nil {
		return err
	}
	return wait(func() error {
		return errors.Join(registered("mutatingwebhookconfigurations", "kyverno-resource-mutating-webhook-cfg"),
			registered("validatingwebhookconfigurations", "kyverno-resource-validating-webhook-cfg"))
	})
}
