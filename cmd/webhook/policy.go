package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/kubernetes"

	"github.com/sixgate/sixgate/cmd/internal/live"
	"github.com/sixgate/sixgate/pkg/rules"
)

// A policyKeeper keeps the set of rules in step with the policy file and with the families of the cluster's Services.
type policyKeeper struct {
	file   string // "": the default policy
	every  time.Duration
	client kubernetes.Interface
	log    logr.Logger
	set    atomic.Pointer[rules.Set]

	mu         sync.Mutex
	seen       []byte // the file as it was last read, good or bad
	digest     string // of the file in force
	unreadable bool   // the last reading failed, so that the same content is news again
	policy     *rules.Policy
	families   []string // of the cluster; nil until they have been read
	err        error    // why families are not known
}

// newPolicyKeeper reads the policy once: a bad one is an error at the start, later it is not.
func newPolicyKeeper(file string, every time.Duration, client kubernetes.Interface, log logr.Logger) (*policyKeeper, error) {
	k := &policyKeeper{file: file, every: every, client: client, log: log, policy: rules.DefaultPolicy(), digest: "default", err: errors.New("not read yet")}
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read policy: %w", err)
		}
		if k.policy, err = rules.ReadPolicy(data); err != nil {
			return nil, fmt.Errorf("read policy %s: %w", file, err)
		}
		k.seen, k.digest = data, digestOf(data)
	}
	k.apply()
	return k, nil
}

// Start looks at the file and at the cluster until ctx ends. A mounted ConfigMap is swapped by symbolic links, so content is
// compared, not times.
func (k *policyKeeper) Start(ctx context.Context) error {
	for round := 0; ; round++ {
		k.reload()
		if round%12 == 0 || k.Ready() != nil {
			k.readFamilies(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(k.every):
		}
	}
}

// digestOf tells policies apart, for people: sha256sum shows the same.
func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:6])
}

// NeedLeaderElection is false: every replica keeps its own.
func (k *policyKeeper) NeedLeaderElection() bool { return false }

func (k *policyKeeper) reload() {
	if k.file == "" {
		return
	}
	data, err := os.ReadFile(k.file)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err != nil && k.unreadable:
		return // said once
	case err == nil && !k.unreadable && bytes.Equal(data, k.seen):
		return
	}
	k.unreadable = err != nil
	var p *rules.Policy
	if err == nil {
		k.seen = data
		p, err = rules.ReadPolicy(data)
	}
	if err != nil {
		policyReloadsTotal.WithLabelValues("error").Inc()
		policyStale.Set(1)
		k.log.Error(err, "the policy file is bad, the old policy stays in force", "file", k.file)
		return
	}
	policyReloadsTotal.WithLabelValues("ok").Inc()
	policyStale.Set(0)
	k.policy, k.digest = p, digestOf(data)
	k.log.Info("policy read", "file", k.file, "digest", k.digest)
	k.apply()
}

func (k *policyKeeper) readFamilies(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	families, _, err := live.ServiceFamilies(ctx, k.client.CoreV1().RESTClient())
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		if k.families == nil {
			k.err = err
			k.log.Error(err, "the families of the cluster's Services are unknown, nothing is rewritten")
		}
		return
	}
	if k.err == nil && slices.Equal(families, k.families) {
		return
	}
	k.families, k.err = families, nil
	k.apply()
}

// apply makes the set; the caller holds the lock. The policy's own families win over the cluster's.
func (k *policyKeeper) apply() {
	p := *k.policy
	if p.Cluster.Families == nil {
		p.Cluster.Families = k.families
	}
	set := rules.NewSet(&p)
	k.set.Store(set)
	value := 0.0
	if !set.Empty() {
		value = 1
	}
	clusterIPv6Only.Set(value)
	policyInfo.Reset()
	policyInfo.WithLabelValues(k.digest).Set(1)
	audit := 0.0
	if p.Mode == rules.ModeAudit {
		audit = 1
	}
	auditMode.Set(audit)
	switch {
	case !set.Empty():
		k.log.Info("rules are active", "families", p.Cluster.Families, "mode", p.Mode)
	case p.Cluster.Families != nil:
		k.log.Info("the cluster is not IPv6-only: nothing is rewritten, nothing is refused", "families", p.Cluster.Families)
	}
}

// Ready returns nil once the families of the cluster are known; "not IPv6-only" is an answer too.
func (k *policyKeeper) Ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.policy.Cluster.Families == nil && k.err != nil {
		return fmt.Errorf("families of the cluster's Services: %w", k.err)
	}
	return nil
}
