package main

import (
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// A progress is a bar with an estimate on a terminal, shown when something takes longer than a second. A nil one shows nothing.
type progress struct {
	w     io.Writer
	total int64
	done  int64
	since time.Time
	bar   *progressbar.ProgressBar
}

// newProgress returns nil where w is no terminal.
func newProgress(w io.Writer, total func() int64) *progress {
	if !isTerminal(w) {
		return nil
	}
	p := &progress{w: w, since: time.Now()}
	p.total = total()
	return p
}

// add counts one object of a kind.
func (p *progress) add(what string) {
	if p == nil {
		return
	}
	p.done++
	if p.bar == nil {
		if time.Since(p.since) < progressAfter {
			return
		}
		p.bar = progressbar.NewOptions64(max(p.total, p.done), progressbar.OptionSetWriter(p.w), progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetWidth(20))
	}
	if p.done > p.bar.GetMax64() { // more have come since they were counted
		p.bar.ChangeMax64(p.done + 1)
	}
	p.bar.Describe(what)
	_ = p.bar.Set64(p.done) // an error of the terminal is not one of the audit
}

// finish takes the bar away.
func (p *progress) finish() {
	if p != nil && p.bar != nil {
		_ = p.bar.Finish()
	}
}
