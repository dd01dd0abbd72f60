package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/sixgate/sixgate/pkg/manifest"
)

// keepBytes is how much of a stream that can be read only once is kept in memory.
const keepBytes = 2 << 20

// keepDecoded is how much of the input is kept decoded, at about 15 times its size, so that most inputs are read once.
const keepDecoded = 1 << 20

// A source is one stream of manifests.
type source struct {
	name string // for reports
	size int64  // 0: not known
	open func() (io.ReadCloser, error)

	failed bool // to open
	later  later
}

// later is what is judged at the end.
type later struct {
	docs  []*manifest.Document // that were kept; the others are read a second time:
	parts map[int]int          // of the stream, each with the number of documents before it
	items map[[2]int]bool      // objects by document and item
}

// putOff notes an object that is visited again.
func (in *input) putOff(s *source, doc *manifest.Document) {
	if in.putBytes += doc.Size(); in.putBytes <= keepDecoded {
		s.later.docs = append(s.later.docs, doc)
		return
	}
	if s.later.parts == nil {
		s.later.parts, s.later.items = map[int]int{}, map[[2]int]bool{}
	}
	index, before := doc.Part()
	s.later.parts[index] = before
	s.later.items[[2]int{doc.Number, doc.Item}] = true
}

// each visits every object of the input, in the order of the sources, and notes what cannot be read. It ends early only when ctx does.
func (in *input) each(ctx context.Context, visit func(*source, *manifest.Document)) error {
	for i := range in.sources {
		s := &in.sources[i]
		err := in.read(ctx, s, manifest.Scan, func(doc *manifest.Document, err error) {
			if err != nil {
				in.fail(s.name, err)
				return
			}
			in.objects++
			visit(s, doc)
		})
		if err != nil {
			return err
		}
		if !s.failed {
			in.files++
		}
	}
	return nil
}

// again visits the objects that were put off.
func (in *input) again(ctx context.Context, visit func(*manifest.Document)) error {
	for i := range in.sources {
		s := &in.sources[i]
		for _, doc := range s.later.docs {
			visit(doc)
		}
		if len(s.later.parts) == 0 {
			continue
		}
		rescan := func(file string, r io.Reader) iter.Seq2[*manifest.Document, error] {
			return manifest.Rescan(file, r, s.later.parts)
		}
		err := in.read(ctx, s, rescan, func(doc *manifest.Document, err error) {
			if err == nil && s.later.items[[2]int{doc.Number, doc.Item}] { // errors are known
				visit(doc)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// read reads one source. That it cannot be opened is noted, also the second time: its objects are not judged.
func (in *input) read(ctx context.Context, s *source, scan func(string, io.Reader) iter.Seq2[*manifest.Document, error], visit func(*manifest.Document, error)) error {
	f, err := s.open()
	if err != nil {
		s.failed = true
		in.fail(s.name, err)
		return nil
	}
	defer f.Close()
	for doc, err := range scan(s.name, counter{&interruptible{ctx: ctx, Reader: f}, in.progress.add}) {
		if ctx.Err() != nil {
			break
		}
		visit(doc, err)
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
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
		docs, errs := manifest.Read(s.name, counter{&interruptible{ctx: ctx, Reader: f}, in.progress.add})
		f.Close()
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		in.docs = append(in.docs, docs...)
		for _, err := range errs {
			in.fail(s.name, err)
		}
	}
	in.objects = len(in.docs)
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
	buf []byte
}

func (r *interruptible) Read(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	if len(r.buf) < len(p) {
		r.buf = make([]byte, len(p))
	}
	buf := r.buf[:len(p)]
	done := make(chan result, 1)
	go func() {
		n, err := r.Reader.Read(buf)
		done <- result{n, err}
	}()
	select {
	case <-r.ctx.Done():
		r.buf = nil // the read that is given up may still write to it
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
