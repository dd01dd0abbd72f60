package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"

	"github.com/sixgate/sixgate/pkg/manifest"
	"github.com/sixgate/sixgate/pkg/order"
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
	err := in.scan(ctx, func(*source) scanner { return manifest.Scan }, func(s *source, doc *manifest.Document, err error) {
		if err != nil {
			in.fail(s.name, err)
			return
		}
		in.objects++
		visit(s, doc)
	})
	for _, s := range in.sources {
		if !s.failed {
			in.files++
		}
	}
	return err
}

// again visits the objects that were put off.
func (in *input) again(ctx context.Context, visit func(*manifest.Document)) error {
	rescan := func(s *source) scanner {
		for _, doc := range s.later.docs {
			visit(doc)
		}
		if len(s.later.parts) == 0 {
			return nil
		}
		return func(file string, r io.Reader) iter.Seq2[*manifest.Document, error] {
			return manifest.Rescan(file, r, s.later.parts)
		}
	}
	return in.scan(ctx, rescan, func(s *source, doc *manifest.Document, err error) {
		if err == nil && s.later.items[[2]int{doc.Number, doc.Item}] { // errors are known
			visit(doc)
		}
	})
}

// A scanner reads the objects and errors of a stream.
type scanner func(file string, r io.Reader) iter.Seq2[*manifest.Document, error]

const (
	// A file of at most smallFile bytes is read whole, by a task that reads batchBytes or batchFiles of such.
	smallFile  = 1 << 16
	batchBytes = 1 << 16
	batchFiles = 32
)

// A scanned file is what was read of it.
type scanned struct {
	source *source
	docs   []*manifest.Document // nil for an error
	errs   []error
	bytes  int
	failed error // to open
}

// scan reads the sources that have a scanner, several small ones at a time, and visits what is in them in their order. That one cannot
// be opened is noted, also the second time: its objects are not judged.
func (in *input) scan(ctx context.Context, of func(*source) scanner, visit func(*source, *manifest.Document, error)) error {
	var (
		tasks order.Queue[[]scanned]
		batch []func() scanned
		size  int64
	)
	start := func() {
		if len(batch) == 0 {
			return
		}
		files := batch
		tasks.Add(func() []scanned {
			out := make([]scanned, len(files))
			for i, read := range files {
				out[i] = read()
			}
			return out
		})
		batch, size = nil, 0
	}
	next := func() {
		for _, f := range tasks.Next() {
			in.progress.add(f.bytes)
			if f.failed != nil {
				in.cannotOpen(f.source, f.failed)
			}
			for i, doc := range f.docs {
				if ctx.Err() == nil {
					visit(f.source, doc, f.errs[i])
				}
			}
		}
	}
	for i := range in.sources {
		s := &in.sources[i]
		if ctx.Err() != nil {
			break
		}
		small := s.size > 0 && s.size <= smallFile
		if !small { // what it visits comes after those before it
			for start(); tasks.Len() > 0; {
				next()
			}
		}
		scan := of(s)
		if scan == nil {
			continue
		}
		if small {
			batch = append(batch, func() scanned { return s.whole(ctx, scan) })
			if size += s.size; size >= batchBytes || len(batch) >= batchFiles {
				start()
			}
			for tasks.Full() {
				next()
			}
			continue
		}
		err := s.read(ctx, scan, in.progress.add, func(doc *manifest.Document, err error) { visit(s, doc, err) })
		if err != nil {
			in.cannotOpen(s, err)
		}
	}
	for start(); tasks.Len() > 0; {
		next()
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return nil
}

func (in *input) cannotOpen(s *source, err error) {
	s.failed = true
	in.fail(s.name, err)
}

// whole reads a source to its end.
func (s *source) whole(ctx context.Context, scan scanner) scanned {
	out := scanned{source: s}
	out.failed = s.read(ctx, scan, func(n int) { out.bytes += n }, func(doc *manifest.Document, err error) {
		out.docs, out.errs = append(out.docs, doc), append(out.errs, err)
	})
	return out
}

// read reads a source until it or ctx ends. The error says that it cannot be opened.
func (s *source) read(ctx context.Context, scan scanner, count func(int), visit func(*manifest.Document, error)) error {
	f, err := s.open()
	if err != nil {
		return err
	}
	defer f.Close()
	in := &interruptible{ctx: ctx, Reader: f}
	defer in.release()
	for doc, err := range scan(s.name, counter{in, count}) {
		if ctx.Err() != nil {
			break
		}
		visit(doc, err)
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
	buf *[]byte
}

// readBuffers are those of interruptible readers.
var readBuffers = sync.Pool{New: func() any { return new([]byte) }}

func (r *interruptible) Read(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	if r.buf == nil {
		r.buf = readBuffers.Get().(*[]byte)
	}
	if len(*r.buf) < len(p) {
		*r.buf = make([]byte, len(p))
	}
	buf := (*r.buf)[:len(p)]
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

func (r *interruptible) release() {
	if r.buf != nil {
		readBuffers.Put(r.buf)
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
