package manifest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// ErrBinary says that an input is no text.
var ErrBinary = errors.New("not a text file; leave it out, or convert it")

// minCut is how much of a stream of JSON values is read before it is cut between two of them.
const minCut = 1 << 20

// Scan reads a stream as Read does, and holds one document at a time: an input may be larger than memory. It yields each object
// or error in the order of the file. What Read gives one error for costs only its document: text that is not UTF-8, and a document
// of more than 16 MiB. A document with a zero byte ends the scan with ErrBinary. UTF-16 with a byte order mark is decoded, as
// kubectl decodes it.
func Scan(file string, r io.Reader) iter.Seq2[*Document, error] {
	return func(yield func(*Document, error) bool) {
		c := chunker{in: bufio.NewReaderSize(transform.NewReader(r, unicode.BOMOverride(transform.Nop)), 1<<16)}
		number, line := 0, 0
		var q quick
		for {
			data, err := c.next()
			if err != nil && err != io.EOF {
				yield(nil, &Error{File: file, Err: fmt.Errorf("read: %w", err)})
				return
			}
			rd := &reader{src: &source{file: file, data: data, first: line}, number: number, quick: &q}
			rd.chunk(&c)
			number, line = rd.number, line+c.lines
			for _, e := range rd.errs {
				if !yield(nil, e) {
					return
				}
			}
			for _, d := range rd.docs {
				if !yield(d, nil) {
					return
				}
			}
			if err == io.EOF || rd.binary {
				return
			}
		}
	}
}

// chunk reads what lies between two separators, or a part of a stream of JSON values.
func (r *reader) chunk(c *chunker) {
	data := r.src.data
	if bytes.IndexByte(data, 0) >= 0 {
		r.binary = true
		r.errs = append(r.errs, &Error{File: r.src.file, Err: ErrBinary})
		return
	}
	if c.tooLarge {
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
	if !c.continued {
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
	in      *bufio.Reader
	pending []byte // the separator of the next chunk, as far as it was read

	lines     int  // of the last chunk
	tooLarge  bool // it has more than maxDocument bytes; the rest was passed over
	continued bool // it goes on with a stream of JSON values

	cut bool
}

// next returns the next chunk, with io.EOF for the last one.
func (c *chunker) next() ([]byte, error) {
	c.continued, c.cut = c.cut, false
	c.lines, c.tooLarge = 0, false
	var json jsonScan
	var data []byte
	start := true // of a line
	add := func(part []byte) {
		if start = part[len(part)-1] == '\n'; start {
			c.lines++
		}
		limit := maxDocument
		if json.values > 0 {
			limit = maxFile // several documents, and no line end between them
		}
		if c.tooLarge = c.tooLarge || len(data)+len(part) > limit; c.tooLarge {
			return
		}
		data = append(data, part...)
		json.read(part, c.continued)
	}
	if len(c.pending) > 0 {
		add(c.pending)
		c.pending = nil
	}
	for {
		part, err := c.in.ReadSlice('\n')
		if len(part) > 0 && start && isSeparator(part) && (len(data) > 0 || c.lines > 0) {
			c.pending = bytes.Clone(part)
			return data, nil // an error of the reader comes again
		}
		if len(part) > 0 {
			add(part)
		}
		switch {
		case err == bufio.ErrBufferFull:
		case err != nil:
			return data, err
		case len(data) >= minCut && json.between() && !c.tooLarge:
			c.cut = true
			return data, nil
		}
	}
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
