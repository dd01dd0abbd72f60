package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sixgate/sixgate/pkg/manifest"
)

// keepBytes is how much input is kept decoded, at about 15 times its size. What is larger is read and decoded twice.
const keepBytes = 2 << 20

// A source is one stream of manifests.
type source struct {
	name string // for reports
	size int64  // 0: not known
	open func() (io.ReadCloser, error)

	failed bool // to open
}

// each visits every object of the input, one at a time, in the order of the sources. What cannot be read is noted the first time. It
// ends early only when ctx does.
func (in *input) each(ctx context.Context, visit func(*manifest.Document)) error {
	if in.kept {
		for _, doc := range in.docs {
			visit(doc)
		}
		return nil
	}
	again := in.passes > 0
	in.passes++
	var total int64
	for i := range in.sources {
		s := &in.sources[i]
		if s.failed {
			continue
		}
		fail := func(err error) {
			if !again {
				in.fail(s.name, err)
			}
		}
		f, err := s.open()
		if err != nil { // also the second time: its objects are not judged
			s.failed = true
			in.fail(s.name, err)
			continue
		}
		if !again {
			in.files++
		}
		before := total
		counted := counter{&interruptible{ctx, f}, func(n int) {
			total += int64(n)
			in.progress.add(n)
		}}
		for doc, err := range manifest.Scan(s.name, counted) {
			if ctx.Err() != nil {
				break
			}
			if err != nil {
				fail(err)
				continue
			}
			if !again {
				in.objects++
				if total <= keepBytes {
					in.docs = append(in.docs, doc)
				} else {
					in.docs = nil
				}
			}
			visit(doc)
		}
		f.Close()
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if s.size == 0 {
			s.size = total - before
		}
	}
	in.kept = !again && total <= keepBytes
	if !in.kept {
		in.docs = nil
	}
	return nil
}

// load reads all objects and keeps them, each with its whole file, for who writes files.
func (in *input) load(ctx context.Context) error {
	for _, s := range in.sources {
		f, err := s.open()
		if err != nil {
			in.fail(s.name, err)
			continue
		}
		in.files++
		docs, errs := manifest.Read(s.name, counter{&interruptible{ctx, f}, in.progress.add})
		f.Close()
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		in.docs = append(in.docs, docs...)
		for _, err := range errs {
			in.fail(s.name, err)
		}
	}
	in.objects, in.kept = len(in.docs), true
	return nil
}

type counter struct {
	io.Reader
	count func(int)
}

func (c counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.count(n)
	return n, err
}

// An interruptible reader does not wait longer than ctx: reading from a terminal or a pipe cannot be interrupted otherwise.
type interruptible struct {
	ctx context.Context
	io.Reader
}

func (r *interruptible) Read(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	buf := make([]byte, len(p)) // a read that is given up may still write to it
	done := make(chan result, 1)
	go func() {
		n, err := r.Reader.Read(buf)
		done <- result{n, err}
	}()
	select {
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	case got := <-done:
		return copy(p, buf[:got.n]), got.err
	}
}

// A pipe is opened by who reads it: that waits for a writer.
type pipe struct {
	name string
	file *os.File
}

func (p *pipe) Read(b []byte) (int, error) {
	if p.file == nil {
		f, err := os.Open(p.name)
		if err != nil {
			return 0, err
		}
		p.file = f
	}
	n, err := p.file.Read(b)
	if err != nil {
		p.file.Close()
	}
	return n, err
}

// A spool makes a stream that can be read only once readable again: in memory, and on disk where it is large.
type spool struct {
	in     io.Reader
	memory bytes.Buffer
	file   *os.File
	read   bool // once
}

// open returns the stream, and from the second time on what the first one has read.
func (s *spool) open() (io.ReadCloser, error) {
	if !s.read {
		s.read = true
		return io.NopCloser(io.TeeReader(s.in, s)), nil
	}
	if s.file == nil {
		return io.NopCloser(bytes.NewReader(s.memory.Bytes())), nil
	}
	return io.NopCloser(io.NewSectionReader(s.file, 0, 1<<62)), nil
}

func (s *spool) Write(p []byte) (int, error) {
	if s.file != nil {
		n, err := s.file.Write(p)
		return n, noRoom(err)
	}
	s.memory.Write(p)
	if s.memory.Len() <= keepBytes {
		return len(p), nil
	}
	f, err := os.CreateTemp("", "sixgate-*")
	if err != nil {
		return 0, noRoom(err)
	}
	// Nobody has to clean up after us, however we end. Where an open file cannot be removed, close does it.
	_ = os.Remove(f.Name())
	s.file = f
	if _, err := f.Write(s.memory.Bytes()); err != nil {
		return 0, noRoom(err)
	}
	s.memory = bytes.Buffer{}
	return len(p), nil
}

func noRoom(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("keep a copy in %s: %w; set TMPDIR to a folder with room", os.TempDir(), cause(err))
}

// size is what was written so far, in bytes.
func (s *spool) size() int64 {
	if s.file == nil {
		return int64(s.memory.Len())
	}
	info, err := s.file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
		_ = os.Remove(s.file.Name())
	}
}
