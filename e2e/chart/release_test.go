//go:build e2e

package chart

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// installers are Helm 3 and Helm 4, on a cluster or without one.
func installers(t *testing.T, c *cluster.Cluster) []*installer {
	t.Helper()
	tools, err := cluster.FindTools(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	var out []*installer
	for _, helm := range []string{tools.Helm3, tools.Helm4} {
		in := &installer{Cluster: c, helm: helm, root: root}
		in.env = append(os.Environ(), "HOME="+t.TempDir())
		if c != nil {
			in.env = append(in.env, "KUBECONFIG="+c.Kubeconfig)
		}
		out = append(out, in)
	}
	return out
}

// TestUpgradeFrom: releases of older charts, as `make freeze-chart` has kept them, become this one and go back, with the values that
// people had; the webhook answers before and after, and its CA stays.
func TestUpgradeFrom(t *testing.T) {
	older, err := filepath.Glob("testdata/sixgate-*.tgz")
	if err != nil || len(older) == 0 {
		t.Fatal("no older chart", err)
	}
	c := cluster.ForTest(t, cluster.Options{ControllerManager: true})
	for _, in := range installers(t, c) {
		for _, chart := range older {
			t.Run(filepath.Base(in.helm)+"/"+filepath.Base(chart), func(t *testing.T) { in.upgradeFrom(t, chart) })
		}
	}
}

func (in *installer) upgradeFrom(t *testing.T, older string) {
	values := []string{"-n", namespace, "-f", "testdata/older-values.yaml"}
	in.helmMust(t, append([]string{"install", "sixgate", older, "--create-namespace"}, values...)...)
	sixgate, err := in.InstallSixgate(t.Context(), cluster.SixgateOptions{Applied: true})
	if err != nil {
		t.Fatal(err)
	}
	answers := func(name string) {
		t.Helper()
		eventually(t, func() error {
			out, stderr, _, err := in.Kubectl(t.Context(), fmt.Sprintf(ipv4Service, name), "apply", "--dry-run=server", "-f", "-", "-o", "jsonpath={.spec.ipFamilies[*]}")
			if err == nil && out != "IPv6" {
				err = errors.New(out + stderr)
			}
			return err
		})
	}
	bundle := func() string {
		t.Helper()
		return in.must(t, "", "get", "mutatingwebhookconfiguration/sixgate", "-o", "jsonpath={.webhooks[0].clientConfig.caBundle}")
	}
	answers("before")
	ca := bundle()

	in.helmMust(t, append([]string{"upgrade", "sixgate", filepath.Join(in.root, "charts/sixgate")}, values...)...)
	answers("after")
	if bundle() != ca || ca == "" {
		t.Error("the upgrade has changed the CA")
	}
	if got := in.must(t, "", "get", "deployment/sixgate-webhook", "-n", namespace, "-o", "jsonpath={.spec.replicas} {.metadata.labels.team} {.spec.template.spec.containers[0].args}"); !strings.HasPrefix(got, "3 platform ") || !strings.Contains(got, "--log-level=debug") {
		t.Errorf("values after the upgrade: %s", got)
	}
	in.helmMust(t, "rollback", "sixgate", "-n", namespace)
	answers("back")
	if bundle() != ca {
		t.Error("the rollback has changed the CA")
	}
	for i := range sixgate.Replicas {
		if err := sixgate.Stop(i); err != nil {
			t.Error(err)
		}
	}
	in.helmMust(t, "uninstall", "sixgate", "-n", namespace, "--timeout=60s")
	in.must(t, "", "delete", "namespace", namespace, "--wait")
	if left := in.must(t, "", "get", "mutatingwebhookconfigurations,validatingwebhookconfigurations", "-o", "name"); strings.Contains(left, "sixgate") {
		t.Errorf("left: %s", left)
	}
}

// TestRegistry: the chart goes through registries that are reached by an IPv6 address, and is the same when it comes out; crane copies it
// from one to another, as docs/install.md says.
func TestRegistry(t *testing.T) {
	crane, err := cluster.FindCrane(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	from, to := serveRegistry(t, crane), serveRegistry(t, crane)
	for _, in := range installers(t, nil) {
		t.Run(filepath.Base(in.helm), func(t *testing.T) {
			folder, dir, name := filepath.Join(in.root, "charts/sixgate"), t.TempDir(), filepath.Base(in.helm)
			in.helmMust(t, "package", folder, "-d", dir)
			packages, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
			if err != nil || len(packages) != 1 {
				t.Fatal(packages, err)
			}
			version := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(packages[0]), "sixgate-"), ".tgz")
			in.helmMust(t, "push", packages[0], "oci://"+from+"/"+name, "--plain-http")
			if out, err := exec.CommandContext(t.Context(), crane, "copy", "--insecure", from+"/"+name+"/sixgate:"+version, to+"/"+name+"/sixgate:"+version).CombinedOutput(); err != nil {
				t.Fatalf("crane copy: %v %s", err, out)
			}
			chart := "oci://" + to + "/" + name + "/sixgate"
			pulled := t.TempDir()
			in.helmMust(t, "pull", chart, "--version", version, "--plain-http", "-d", pulled)
			want, err := os.ReadFile(packages[0])
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(pulled, filepath.Base(packages[0]))); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the chart is another one: %v", err)
			}
			rendered := in.helmMust(t, "template", "sixgate", chart, "--version", version, "--plain-http", "-n", namespace, "--kube-version=v1.37.0")
			if !strings.Contains(rendered, "kind: MutatingWebhookConfiguration") {
				t.Errorf("rendered from the registry:\n%s", rendered)
			}
		})
	}
}

// serveRegistry starts a registry on ::1 and returns its address.
func serveRegistry(t *testing.T, crane string) string {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), crane, "registry", "serve", "--address", address)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	eventually(t, func() error {
		_, _, err := cluster.Get(t.Context(), "http://"+address+"/v2/")
		return err
	})
	return address
}
