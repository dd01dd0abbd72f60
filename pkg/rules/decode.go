package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// A Decoder reads JSON once, token by token, into the tree that an Object holds, in two thirds of the time of encoding/json. Like
// encoding/json it takes the last of two fields of one name, and U+FFFD for what is not UTF-8; more than 10,000 levels are an error.
// Names are told apart by case.
type Decoder struct {
	tokens jsontext.Decoder
	source bytes.Buffer

	names   [256]string // some of those that were read before: most objects have the same
	members []member    // of the objects that are being read
	values  []any       // of the lists that are being read

	unquoted bool  // a field like those that yaml-unquoted-ipv6 looks for
	tooLarge error // the first number that no type of Go holds
}

type member struct {
	name  string
	value any
}

var decoders = sync.Pool{New: func() any { return &Decoder{} }}

// NewDecoder returns a decoder of one JSON text, which must not change before Free.
func NewDecoder(text []byte) *Decoder {
	d := decoders.Get().(*Decoder)
	d.source = *bytes.NewBuffer(text)
	d.tokens.Reset(&d.source, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return d
}

// Free ends the use of a decoder. What it returned stays as it is.
func (d *Decoder) Free() {
	d.source = bytes.Buffer{}
	d.members, d.values = emptied(d.members, 0), emptied(d.values, 0)
	d.unquoted, d.tooLarge = false, nil
	decoders.Put(d)
}

// emptied is a stack without what is above its first n entries; one that a huge object has made is not kept.
func emptied[T any](stack []T, n int) []T {
	clear(stack[n:])
	if n == 0 && cap(stack) > 4096 {
		return nil
	}
	return stack[:n]
}

// End returns an error if anything but space follows.
func (d *Decoder) End() error {
	switch _, err := d.tokens.ReadToken(); err {
	case io.EOF:
		return nil
	case nil:
		return errors.New("more than one value")
	default:
		return err
	}
}

// Fields reads a JSON object: each is called with the name of each field, and must read or skip its value. It fails if there is none.
func (d *Decoder) Fields(each func(name string) error) error {
	switch token, err := d.tokens.ReadToken(); {
	case err != nil:
		return err
	case token.Kind() != '{':
		return fmt.Errorf("%s instead of an object", token.Kind())
	}
	for d.tokens.PeekKind() != '}' {
		name, err := d.name()
		if err != nil {
			return err
		}
		if err := each(name); err != nil {
			return err
		}
	}
	_, err := d.tokens.ReadToken()
	return err
}

// Skip reads a value and forgets it.
func (d *Decoder) Skip() error { return d.tokens.SkipValue() }

// Null reads a null, if one is next.
func (d *Decoder) Null() bool { return d.tokens.PeekKind() == 'n' && d.tokens.SkipValue() == nil }

// ReadString reads a string; a null changes nothing.
func ReadString[T ~string](d *Decoder, to *T) error {
	switch v, err := d.Value(); v := v.(type) {
	case string:
		*to = T(v)
		return nil
	case nil:
		return err
	default:
		return fmt.Errorf("%T instead of a string", v)
	}
}

// Object reads an object of the API, but for the fields that no rule looks at: status and metadata.managedFields. It fails if there
// is none, and then has read the value, unless the error is a jsontext.SyntacticError.
func (d *Decoder) Object() (*Object, error) {
	d.unquoted, d.tooLarge = false, nil
	if kind := d.tokens.PeekKind(); kind != '{' {
		if err := d.tokens.SkipValue(); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("decode object: %s", kind)
	}
	root, err := d.object(func(name string) (any, bool, error) {
		switch {
		case name == "status":
			return nil, false, d.Skip()
		case name != "metadata" || d.tokens.PeekKind() != '{':
			v, err := d.Value()
			return v, true, err
		}
		v, err := d.object(func(name string) (any, bool, error) {
			if name == "managedFields" {
				return nil, false, d.Skip()
			}
			v, err := d.Value()
			return v, true, err
		})
		return v, true, err
	})
	switch {
	case err != nil:
		return nil, err
	case d.tooLarge != nil:
		return nil, fmt.Errorf("decode object: %w", d.tooLarge)
	}
	return &Object{root: root, quoted: !d.unquoted}, nil
}

// Value reads the next value: a map[string]any, []any, string, int64, float64, bool or nil. Integers keep their value up to 64 bits.
func (d *Decoder) Value() (any, error) {
	switch d.tokens.PeekKind() {
	case '{':
		return d.object(nil)
	case '[':
		return d.list()
	}
	raw, err := d.tokens.ReadValue()
	if err != nil {
		return nil, err
	}
	switch raw.Kind() {
	case '"':
		if plain(raw) {
			return string(raw[1 : len(raw)-1]), nil
		}
		return unescaped(raw), nil
	case '0':
		return d.number(string(raw)), nil
	case 't':
		return true, nil
	case 'f':
		return false, nil
	}
	return nil, nil
}

// name reads the name of the next field, which must be there.
func (d *Decoder) name() (string, error) {
	raw, err := d.tokens.ReadValue()
	if err != nil {
		return "", err
	}
	if !plain(raw) {
		return unescaped(raw), nil
	}
	raw = raw[1 : len(raw)-1]
	n := uint(len(raw))
	if n < 2 || n > 64 {
		return string(raw), nil
	}
	known := &d.names[(n*7+uint(raw[0])*31+uint(raw[n-1])*17+uint(raw[n/2])*3)%uint(len(d.names))]
	if *known != string(raw) {
		*known = string(raw)
	}
	return *known, nil
}

// plain: the text between the quotes is what the string holds.
func plain(raw []byte) bool { return bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) }

// unescaped is the string of a token that has been read.
func unescaped(raw jsontext.Value) string {
	text, _ := jsontext.AppendUnquote(nil, raw) // the error says that it is not UTF-8
	return string(text)
}

func (d *Decoder) number(text string) any {
	if !strings.ContainsAny(text, ".eE") {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil && d.tooLarge == nil {
		d.tooLarge = fmt.Errorf("read number: %w", err)
	}
	return n
}

// object reads an object. field, if any, reads the value of a field, and says whether to keep it.
func (d *Decoder) object(field func(name string) (value any, keep bool, err error)) (map[string]any, error) {
	if _, err := d.tokens.ReadToken(); err != nil {
		return nil, err
	}
	first := len(d.members)
	for d.tokens.PeekKind() != '}' {
		name, err := d.name()
		if err != nil {
			return nil, err
		}
		value, keep := any(nil), true
		if field == nil {
			value, err = d.Value()
		} else {
			value, keep, err = field(name)
		}
		if err != nil {
			return nil, err
		}
		if keep {
			d.members = append(d.members, member{name, value})
		}
		d.unquoted = d.unquoted || value == nil && strings.HasSuffix(name, ":")
	}
	if _, err := d.tokens.ReadToken(); err != nil {
		return nil, err
	}
	out := make(map[string]any, len(d.members)-first)
	for _, m := range d.members[first:] {
		out[m.name] = m.value
	}
	d.members = emptied(d.members, first)
	return out, nil
}

func (d *Decoder) list() ([]any, error) {
	if _, err := d.tokens.ReadToken(); err != nil {
		return nil, err
	}
	first := len(d.values)
	for d.tokens.PeekKind() != ']' {
		value, err := d.Value()
		if err != nil {
			return nil, err
		}
		d.values = append(d.values, value)
	}
	if _, err := d.tokens.ReadToken(); err != nil {
		return nil, err
	}
	out := make([]any, len(d.values)-first)
	copy(out, d.values[first:])
	d.values = emptied(d.values, first)
	return out, nil
}
