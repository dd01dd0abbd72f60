package main

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progressAfter is how long people wait before they want to know.
const progressAfter = time.Second

// A reading shows how far the input was read, on a terminal, where that takes longer than a second. A nil one shows nothing.
type reading struct {
	w       io.Writer
	total   int64 // bytes; 0: not known
	done    int64
	started time.Time
	bar     *progressbar.ProgressBar
}

// newReading returns nil where w is no terminal.
func newReading(w io.Writer, total int64) *reading {
	if !isTerminal(w) {
		return nil
	}
	return &reading{w: w, total: total, started: time.Now()}
}

// isTerminal reports whether what is written is for people, and may be taken back or colored.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

func (p *reading) add(n int) {
	if p == nil {
		return
	}
	p.done += int64(n)
	if p.bar == nil {
		if time.Since(p.started) < progressAfter {
			return
		}
		total := p.total
		if total == 0 {
			total = -1 // a spinner
		}
		p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription("reading"),
			progressbar.OptionShowBytes(true), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())
	}
	// The bar is for the eye alone: nothing depends on it.
	if p.total == 0 || p.done < p.total { // at its end the bar would be gone, and come back with the next read
		_ = p.bar.Set64(p.done)
	}
}

// finish removes the bar, and ends what would draw a spinner again.
func (p *reading) finish() {
	if p != nil && p.bar != nil {
		_ = p.bar.Finish()
	}
}

// progressOf is the progress of an input.
func (in *input) progressOf(w io.Writer) *reading {
	var total int64
	for _, s := range in.sources {
		if s.size == 0 {
			return newReading(w, 0)
		}
		total += s.size
	}
	return newReading(w, total)
}
