package cluster

import (
	"context"
	"time"
)

// A T is what ForTest needs of *testing.T.
type T interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Error(...any)
	Fatal(...any)
}

// ForTest is Start for one test: the cluster ends with it, and a component that ended before fails it. Starting may take 5 minutes.
func ForTest(t T, o Options) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}
