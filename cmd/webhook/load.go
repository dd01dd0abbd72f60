package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// queueTime is how long a request waits for room, and then for its turn. An API server waits 5 seconds by default, so it can ask once more.
	queueTime = time.Second
	// retryAfter is in seconds, which is all that API servers read.
	retryAfter = "1"

	// What a decoded request takes, measured with hostile bodies of 1 MB: a byte of a configuration text, a JSON object with one key.
	textBytes   = 32
	objectBytes = 400
	// mostAtWork requests are worked on at a time. It is more than the cores of most nodes, and the work needs nothing but a core.
	mostAtWork = 32

	// freeBody is what the usual body is shorter than; it needs no room, so that large ones do not keep it out.
	freeBody = 16 << 10
)

var (
	errBusy     = errors.New("too many requests are waiting")
	errTooDense = errors.New("decoded, the AdmissionReview would need more memory than there is")
)

// A load bounds the memory of all requests together: bytes of their bodies first, then what they take once decoded. Who cannot be
// served within queueTime is turned away, so that the others are served in time. A nil *load bounds nothing.
type load struct {
	bodies, work *semaphore.Weighted
	workBytes    int64
}

// newLoad divides a memory limit in bytes: what is left is for connections, garbage and the program itself.
func newLoad(limit int64) *load {
	l := &load{workBytes: limit * 3 / 8}
	l.bodies, l.work = semaphore.NewWeighted(max(limit/10, maxBody)), semaphore.NewWeighted(l.workBytes)
	return l
}

// A bodyReader takes room for what it reads, as it comes: who announces much and sends little keeps nobody waiting.
type bodyReader struct {
	l     *load
	ctx   context.Context
	r     io.Reader
	free  int64 // may still be read without room
	taken int64
	left  time.Duration // to wait
}

// body returns a reader of a request's body; release gives its room back. The body may be 7 MB, and belongs to no other request.
func (l *load) body(w http.ResponseWriter, r *http.Request) (body io.Reader, release func()) {
	in := http.MaxBytesReader(w, r.Body, maxBody)
	if l == nil {
		return in, func() {}
	}
	b := &bodyReader{l: l, ctx: r.Context(), r: in, free: freeBody, left: queueTime}
	return b, func() { l.bodies.Release(b.taken) }
}

// Read is of io.Reader.
func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	need := int64(n) - b.free
	b.free = max(b.free-int64(n), 0)
	if need > 0 {
		begin := time.Now()
		if err := wait(b.ctx, b.l.bodies, need, b.left); err != nil {
			return 0, err
		}
		b.left -= time.Since(begin)
		b.taken += need
	}
	return n, err
}

// enter waits for the turn of a request whose body has been read.
func (l *load) enter(ctx context.Context, body []byte) (leave func(), err error) {
	if l == nil {
		return func() {}, nil
	}
	dense := int64(bytes.Count(body, []byte{'{'})) * objectBytes
	if dense > l.workBytes {
		if dense = int64(objects(body)) * objectBytes; dense > l.workBytes {
			return nil, errTooDense
		}
	}
	n := max(int64(len(body))*textBytes+dense, l.workBytes/mostAtWork)
	n = min(n, l.workBytes)
	if err := wait(ctx, l.work, n, queueTime); err != nil {
		return nil, err
	}
	return func() { l.work.Release(n) }, nil
}

// objects counts the JSON objects; braces in texts are none.
func objects(body []byte) (n int) {
	text := false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case c == '{' && !text:
			n++
		}
	}
	return n
}

// wait takes n of s, or returns errBusy after limit.
func wait(ctx context.Context, s *semaphore.Weighted, n int64, limit time.Duration) error {
	if s.TryAcquire(n) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if s.Acquire(ctx, n) != nil {
		return errBusy
	}
	return nil
}

// shed answers a request that is not worked on. It must not be an AdmissionReview: that would let requests through where the failurePolicy is
// Fail. An API server that reads this status asks again after a second as long as its timeoutSeconds last, and then its failurePolicy holds.
func (h *handler) shed(w http.ResponseWriter, err error) {
	if errors.Is(err, errTooDense) {
		h.reject(w, http.StatusRequestEntityTooLarge, err.Error())
		return
	}
	requestsTotal.WithLabelValues(h.name, "", "", "shed").Inc()
	h.sheds.Info(h.log, "overloaded: requests are turned away", "webhook", h.name)
	w.Header().Set("Retry-After", retryAfter)
	w.Header().Set("Connection", "close") // the next one may lead to a replica that has room
	http.Error(w, err.Error(), http.StatusTooManyRequests)
}
