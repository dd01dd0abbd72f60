package rules

import (
	"strconv"
	"strings"
)

// A Path names a field of an object from its root: object keys as string, list indices as int.
type Path []any

// With returns p followed by elems; p itself is not changed.
func (p Path) With(elems ...any) Path {
	q := make(Path, 0, len(p)+len(elems))
	return append(append(q, p...), elems...)
}

// Pointer returns the path as an RFC 6901 JSON pointer.
func (p Path) Pointer() string {
	var b strings.Builder
	for _, e := range p {
		b.WriteByte('/')
		switch e := e.(type) {
		case string:
			b.WriteString(strings.ReplaceAll(strings.ReplaceAll(e, "~", "~0"), "/", "~1"))
		case int:
			b.WriteString(strconv.Itoa(e))
		}
	}
	return b.String()
}

// plainKey reports whether a key is written with a dot; every other one is quoted in brackets.
func plainKey(s string) bool {
	for i := range len(s) {
		if !isLetter(s[i]) && (i == 0 || !isDigit(s[i])) {
			return false
		}
	}
	return s != ""
}

// String returns the path as people write it: spec.containers[0].ports[0].hostIP, data["default.conf"].
func (p Path) String() string {
	var b strings.Builder
	for _, e := range p {
		switch e := e.(type) {
		case int:
			b.WriteString("[" + strconv.Itoa(e) + "]")
		case string:
			switch {
			case !plainKey(e):
				b.WriteString("[" + strconv.Quote(e) + "]")
			case b.Len() > 0:
				b.WriteString("." + e)
			default:
				b.WriteString(e)
			}
		}
	}
	return b.String()
}
