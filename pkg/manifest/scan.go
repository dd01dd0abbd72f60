package manifest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/sixgate/sixgate/pkg/order"
	"github.com/sixgate/sixgate/pkg/quickyaml"
)

// ErrBinary says that an input is no text.
var ErrBinary = errors.New("not a text file; leave it out, or convert it")

// minCut is how much of a stream of JSON values is read before it is cut between two of them.
const minCut = 1 << 20

// Scan reads a stream as Read does, and holds some documents at a time, 16 MiB or one that is larger: an input may be larger than
// memory. It yields each object or error in the order of the file; documents are decoded on all cores. What Read gives one error for
// costs only its document: text that is not UTF-8, and a document of more than 16 MiB. A document with a zero byte ends the scan
// with ErrBinary. UTF-16 with a byte order mark is decoded, as kubectl decodes it.
func Scan(file string, r io.Reader) iter.Seq2[*Document, error] { return scanParts(file, r, nil) }

// Rescan reads a stream a second time, and only the parts that are asked for: what Document.Part gave for objects of Scan.
func Rescan(file string, r io.Reader, parts map[int]int) iter.Seq2[*Document, error] {
	return scanParts(file, r, func(index int) (int, bool) {
		before, ok := parts[index]
		return before, ok
	})
}

// Part is the part of the stream that an object of Scan was read with, counted from 0, and how many documents are before that part.
func (d *Document) Part() (index, before int) { return d.part, d.before }

// Size is how many bytes of the file the object takes, more or less.
func (d *Document) Size() int { return d.size }

// batchSize is how many bytes are decoded by one task.
const batchSize = 1 << 16

// The memory of parsers and chunkers is used again: most files are small.
var (
	parsers  = sync.Pool{New: func() any { return &quickyaml.Parser{} }}
	chunkers = sync.Pool{New: func() any { return &chunker{in: bufio.NewReaderSize(nil, blockSize)} }}
)

// scanParts reads all parts, or those that are wanted, which come with the number of documents before them.
func scanParts(file string, r io.Reader, wanted func(index int) (before int, ok bool)) iter.Seq2[*Document, error] {
	return func(yield func(*Document, error) bool) {
		c := newChunker(r)
		defer c.release()
		var (
			tasks   order.Queue[[]*reader]
			running []int // bytes of each task
			inTasks int
			batch   []*reader
			size    int
			number  int
		)
		start := func() {
			if len(batch) == 0 {
				return
			}
			running, inTasks = append(running, size), inTasks+size
			readers := batch
			tasks.Add(func() []*reader {
				q := parsers.Get().(*quickyaml.Parser)
				defer parsers.Put(q)
				for _, rd := range readers {
					rd.quick = q
					rd.chunk()
				}
				return readers
			})
			batch, size = nil, 0
		}
		next := func() bool { // yields what the oldest task has read
			inTasks, running = inTasks-running[0], running[1:]
			for _, rd := range tasks.Next() {
				before := number
				if wanted != nil {
					before, _ = wanted(rd.part)
				}
				number = before + rd.number
				for _, e := range rd.errs {
					if !yield(nil, e) {
						return false
					}
				}
				for _, d := range rd.docs {
					d.Number += before
					d.part, d.before = rd.part, before
					if !yield(d, nil) {
						return false
					}
				}
				if rd.binary {
					return false
				}
			}
			return true
		}
		line := 0
		for i := 0; ; i++ {
			keep := true
			if wanted != nil {
				_, keep = wanted(i)
			}
			data, err := c.next(keep)
			failed := err != nil && err != io.EOF
			if keep && !failed {
				batch = append(batch, &reader{
					src:  &source{file: file, data: data, first: line},
					part: i, tooLarge: c.tooLarge, continued: c.continued,
				})
				size += len(data)
			}
			line += c.lines
			if size >= batchSize || err != nil {
				start()
			}
			for tasks.Len() > 0 && (tasks.Full() || inTasks > maxDocument || err != nil) {
				if !next() {
					return
				}
			}
			if failed {
				yield(nil, &Error{File: file, Err: fmt.Errorf("read: %w", err)})
			}
			if err != nil {
				return
			}
		}
	}
}

// chunk reads what lies between two separators, or a part of a stream of JSON values.
func (r *reader) chunk() {
	data := r.src.data
	if bytes.IndexByte(data, 0) >= 0 {
		r.binary = true
		r.errs = append(r.errs, &Error{File: r.src.file, Err: ErrBinary})
		return
	}
	if r.tooLarge {
		r.number++
		if i := firstContent(separated(data)); i >= 0 {
			r.fail(len(data)-len(separated(data))+i, errTooLarge)
		} else {
			r.failLine(r.src.first+1, errTooLarge)
		}
		return
	}
	if off := invalidUTF8(data); off >= 0 {
		r.number++
		r.fail(off, errNotUTF8)
		return
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		r.src.data, r.src.ended = append(data, '\n'), true // as in Read
	}
	if !r.continued {
		r.split()
	} else if firstContent(r.src.data) >= 0 {
		_ = r.json(0, len(r.src.data), "", false) // an error is recorded, as it is not the first value
	}
}

// separated is a chunk without its first line where that is a separator.
func separated(data []byte) []byte {
	if !isSeparator(data) {
		return data
	}
	_, rest, _ := bytes.Cut(data, []byte("\n"))
	return rest
}

func isSeparator(line []byte) bool {
	return bytes.HasPrefix(bytes.TrimPrefix(line, []byte(bom)), []byte("---"))
}

// A chunker cuts a stream in front of the lines that start with "---".
type chunker struct {
	in    *bufio.Reader
	block []byte // empty, with room for the next chunks

	lines     int  // of the last chunk
	tooLarge  bool // it has more than maxDocument bytes; the rest was passed over
	continued bool // it goes on with a stream of JSON values

	cut bool
}

const (
	// blockSize is how much is read at once. A chunk that is small shares its memory with others.
	blockSize  = 1 << 16
	smallChunk = 1 << 12
)

func newChunker(r io.Reader) *chunker {
	c := chunkers.Get().(*chunker)
	c.cut = false
	c.in.Reset(&lasting{r: r})
	if head, _ := c.in.Peek(1); len(head) > 0 && head[0] >= bom[0] {
		c.in = bufio.NewReaderSize(transform.NewReader(c.in, unicode.BOMOverride(transform.Nop)), blockSize)
	}
	return c
}

// release gives back what the next chunker can use. Documents keep their part of the block.
func (c *chunker) release() {
	c.in.Reset(nil)
	chunkers.Put(c)
}

// A lasting reader gives its error again, which a bufio.Reader that is peeked into does not.
type lasting struct {
	r   io.Reader
	err error
}

func (l *lasting) Read(p []byte) (n int, err error) {
	if l.err != nil {
		return 0, l.err
	}
	n, l.err = l.r.Read(p)
	return n, l.err
}

// next passes over the next chunk, and returns it if it is to be kept; with io.EOF for the last one.
func (c *chunker) next(keep bool) ([]byte, error) {
	c.continued, c.cut = c.cut, false
	c.lines, c.tooLarge = 0, false
	if cap(c.block) < smallChunk {
		c.block = make([]byte, 0, blockSize)
	}
	data := c.block
	done := func() []byte {
		if cap(data) == cap(c.block) { // it has not grown out of it
			c.block = data[len(data):]
		}
		return data[:len(data):len(data)]
	}
	var json jsonScan
	size := 0
	start := true // of a line
	for {
		if start {
			head, _ := c.in.Peek(len(bom) + len("---")) // an error comes again
			if isSeparator(head) && size > 0 {
				return done(), nil
			}
		}
		part, err := c.part(json.state == 2)
		if len(part) > 0 {
			c.lines += bytes.Count(part, []byte("\n"))
			start = part[len(part)-1] == '\n'
			limit := maxDocument
			if json.values > 0 {
				limit = maxFile // several documents, and no line end between them
			}
			if size += len(part); size > limit {
				c.tooLarge = true
			}
			if !c.tooLarge {
				if len(data)+len(part) > cap(data) && keep {
					data = slices.Grow(data, len(data)+len(part)) // doubled
				}
				if keep {
					data = append(data, part...)
				}
				json.read(part, c.continued)
			}
		}
		switch {
		case err == bufio.ErrBufferFull:
		case err != nil:
			return done(), err
		case size >= minCut && json.between() && !c.tooLarge:
			c.cut = true
			return done(), nil
		}
	}
}

// part reads a line or a part of it; several: up to the next line that may be a separator.
func (c *chunker) part(several bool) ([]byte, error) {
	if !several {
		return c.in.ReadSlice('\n')
	}
	if _, err := c.in.Peek(1); err != nil {
		return nil, err
	}
	part, _ := c.in.Peek(c.in.Buffered())
	if i := bytes.Index(part, []byte("\n---")); i >= 0 {
		part = part[:i+1]
	} else if i := bytes.LastIndexByte(part, '\n'); i >= 0 && i < len(part)-1 {
		part = part[:i+1]
	}
	if i := bytes.Index(part, []byte("\n"+bom)); i >= 0 {
		part = part[:i+1]
	}
	_, err := c.in.Discard(len(part))
	return part, err
}

// A jsonScan knows where a JSON value ends. What looks like JSON and is not is never cut, or between two flow mappings.
type jsonScan struct {
	state  byte // 0: nothing but comments so far, 1: JSON, 2: something else
	skip   bool // in a comment or separator line in front of the first value
	depth  int
	quoted bool
	escape bool
	values int // that have ended
}

func (s *jsonScan) between() bool { return s.state == 1 && s.depth == 0 && !s.quoted && s.values > 0 }

func (s *jsonScan) read(part []byte, continued bool) {
	if s.state == 0 && continued {
		s.state = 1
	}
	for i := 0; i < len(part) && s.state != 2; i++ {
		b := part[i]
		switch {
		case s.state == 0 && b == '\n':
			s.skip = false
		case s.state == 0 && (s.skip || b <= ' '):
		case s.state == 0 && (b == '#' || b == '-' && bytes.HasPrefix(part[i:], []byte("---"))):
			s.skip = true
		case s.state == 0 && b != '{':
			s.state = 2
		case s.escape:
			s.escape = false
		case s.quoted:
			s.escape, s.quoted = b == '\\', b != '"'
		case b == '"':
			s.state, s.quoted = 1, true
		case b == '{' || b == '[':
			s.state, s.depth = 1, s.depth+1
		case b == '}' || b == ']':
			if s.depth--; s.depth == 0 {
				s.values++
			}
		}
	}
}
