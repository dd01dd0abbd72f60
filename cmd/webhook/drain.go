package main

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
)

// A drain is the time between SIGTERM and the end. Requests are still answered, for API servers and kube-proxy take a moment to learn
// that this replica goes; and each connection is ended after its next answer, so that none is in use when the port closes.
type drain struct{ begun atomic.Bool }

// after returns a context that ends a delay later than ctx.
func (d *drain) after(ctx context.Context, delay time.Duration, log logr.Logger) context.Context {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		d.begun.Store(true)
		log.Info("stopping; requests are answered a little longer", "delay", delay.String())
		time.AfterFunc(delay, cancel)
	})
	return later
}

// handler answers with h. Of HTTP/2, the server makes GOAWAY of the header: requests that are under way are answered.
func (d *drain) handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.begun.Load() {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// ready is a readiness check.
func (d *drain) ready(*http.Request) error {
	if d.begun.Load() {
		return errors.New("stopping")
	}
	return nil
}
