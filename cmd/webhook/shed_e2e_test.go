//go:build e2e

package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// TestShedRealAPIServer: an API server whose request is turned away asks again, and gets its answer once there is room. As long as there is none, the
// failurePolicy decides.
func TestShedRealAPIServer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := cluster.ForTest(t, cluster.Options{})
	register := func(r *running, failurePolicy string) {
		t.Helper()
		_, stderr, code, err := c.Kubectl(ctx, fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: busy}
webhooks:
- name: mutate.sixgate.io
  clientConfig: {url: "https://%s/mutate", caBundle: %s}
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [services], operations: [CREATE]}]
  failurePolicy: %s
  sideEffects: None
  timeoutSeconds: 5
  admissionReviewVersions: [v1]
`, r.addr, base64.StdEncoding.EncodeToString(r.caPEM), failurePolicy), "apply", "-f", "-")
		if err != nil || code != 0 {
			t.Fatal(err, stderr)
		}
	}
	create := func() (stderr string, code int) {
		t.Helper()
		const service = "{apiVersion: v1, kind: Service, metadata: {generateName: a-}, spec: {ipFamilies: [IPv4], ports: [{port: 80}]}}"
		_, stderr, code, err := c.Kubectl(ctx, service, "create", "-f", "-")
		if err != nil {
			t.Error(err)
		}
		return stderr, code
	}

	r, limit := startBusy(t)
	register(r, "Fail")
	eventually(t, "the registration is known", func() error {
		// It has asked until its timeout, and says no more than that.
		if stderr, code := create(); code == 0 || !strings.Contains(stderr, `failed calling webhook "mutate.sixgate.io"`) || !strings.Contains(stderr, "context deadline exceeded") {
			return fmt.Errorf("exit code %d, %s", code, stderr)
		}
		return nil
	})
	waitShed(t, r)

	done := make(chan string, 1)
	go func() {
		stderr, code := create()
		done <- fmt.Sprint(code, " ", stderr)
	}()
	time.Sleep(1500 * time.Millisecond) // it has been turned away once by now, or comes late; both must end well
	limit.work.Release(limit.workBytes)
	if got := <-done; !strings.HasPrefix(got, "0 ") || !strings.Contains(got, `changed "IPv4" to "IPv6"`) {
		t.Errorf("with room again: %s", got)
	}
}
