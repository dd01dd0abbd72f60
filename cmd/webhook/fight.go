package main

import (
	"crypto/sha256"
	"encoding/json"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/sixgate/sixgate/pkg/rules"
)

const (
	// fightRounds: a person applies a manifest a few times in a row, a controller does not stop.
	fightRounds = 10
	// fightGap is longer than the usual interval of a GitOps controller (Argo CD 3 minutes, Flux 10).
	fightGap = 15 * time.Minute
	// fightObjects bounds the memory: about 1 MB.
	fightObjects = 4096
)

// A fightDetector notices who writes back, again and again, what the webhook has repaired. The repair goes on, since without it the
// API server refuses the request or the workload breaks; only its words stop.
type fightDetector struct {
	now func() time.Time

	mu   sync.Mutex
	seen *lru.Cache // digest of user, object and change -> rounds
}

type rounds struct {
	count int
	last  time.Time
}

func newFightDetector() *fightDetector {
	return &fightDetector{now: time.Now, seen: lru.New(fightObjects)}
}

// goesOn reports whether this answer is one more round of a fight that has been logged. Only an UPDATE counts: an object that is made
// anew was not written back. A dry run stores nothing.
func (d *fightDetector) goesOn(in *question, resp *admission.Response, log logr.Logger) bool {
	if len(resp.Patches) == 0 || rules.Operation(in.Operation) != rules.Update || isDryRun(&in.Request) {
		return false
	}
	key, err := json.Marshal([]any{in.UserInfo.Username, in.Kind, in.Namespace, in.Name, in.SubResource, resp.Patches})
	if err != nil {
		return false
	}
	count := d.round(sha256.Sum256(key))
	if count < fightRounds {
		return false
	}
	repeatedTotal.WithLabelValues(kindLabel(in.Kind.Kind), countedFights.label(in.Namespace, in.Kind.Kind)).Inc()
	if count == fightRounds {
		log.Info("the same change again and again: this user writes back what is repaired; it goes on without further lines",
			requestFields(in, "rounds", count, "findings", resp.AuditAnnotations["changed"])...)
	}
	return true
}

// round counts one more, from 1 again after a rest.
func (d *fightDetector) round(key [sha256.Size]byte) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, r := d.now(), rounds{}
	if v, ok := d.seen.Get(key); ok && now.Sub(v.(rounds).last) <= fightGap {
		r = v.(rounds)
	}
	r = rounds{r.count + 1, now}
	d.seen.Add(key, r)
	return r.count
}
