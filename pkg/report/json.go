package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/sixgate/sixgate/pkg/order"
)

// writeJSON writes the report as docs/audit-json.md documents it.
func (r *Report) writeJSON(w io.Writer, _ Options) error {
	j := &jsonWriter{w: bufio.NewWriter(w)}
	r.fields(j)
	_, _ = j.w.WriteString("\n}\n")
	return errors.Join(j.err, j.w.Flush())
}

// writeYAML writes the same as YAML.
func (r *Report) writeYAML(w io.Writer, _ Options) error {
	y := &yamlWriter{w: bufio.NewWriter(w)}
	r.fields(y)
	return errors.Join(y.err, y.w.Flush())
}

// A fieldWriter writes a report piece by piece: its lists may be larger than what else is in memory.
type fieldWriter interface {
	field(key string, v any)
	// list writes a list of n elements; of is called by several goroutines.
	list(key string, n int, of func(i int) any)
}

func (r *Report) fields(w fieldWriter) {
	w.field("apiVersion", r.APIVersion)
	w.field("kind", r.Kind)
	list(w, "findings", r.Findings)
	list(w, "known", r.Known)
	list(w, "gone", r.Gone)
	list(w, "objects", r.Objects)
	list(w, "skipped", r.Skipped)
	list(w, "exceptions", r.Exceptions)
	list(w, "errors", r.Errors)
	w.field("summary", r.Summary)
}

func list[T any](w fieldWriter, key string, elements []T) {
	w.list(key, len(elements), func(i int) any { return &elements[i] })
}

// A jsonWriter writes what encoding/json writes with an indent of two spaces.
type jsonWriter struct {
	w     *bufio.Writer // whose error comes with its Flush
	begun bool
	err   error
}

// elementsAtOnce is how many elements of a list are encoded by one task.
const elementsAtOnce = 256

func (j *jsonWriter) key(key string) {
	separator := ","
	if !j.begun {
		j.begun, separator = true, "{"
	}
	fmt.Fprintf(j.w, "%s\n  %q: ", separator, key)
}

func (j *jsonWriter) write(e encoded) {
	_, _ = j.w.Write(e.data)
	j.err = errors.Join(j.err, e.err)
}

func (j *jsonWriter) field(key string, v any) {
	j.key(key)
	j.write(encode("  ", 1, func(int) any { return v }))
}

func (j *jsonWriter) list(key string, n int, of func(int) any) {
	j.key(key)
	if n == 0 {
		_, _ = j.w.WriteString("[]")
		return
	}
	_, _ = j.w.WriteString("[\n    ")
	var tasks order.Queue[encoded]
	for from := 0; from < n || tasks.Len() > 0; {
		if from < n && !tasks.Full() {
			first, count := from, min(elementsAtOnce, n-from)
			tasks.Add(func() encoded { return encode("    ", count, func(i int) any { return of(first + i) }) })
			from += count
			continue
		}
		e := tasks.Next()
		j.write(e)
		if from < n || tasks.Len() > 0 {
			_, _ = j.w.WriteString(",\n    ")
		}
	}
	_, _ = j.w.WriteString("\n  ]")
}

type encoded struct {
	data []byte
	err  error
}

// encode encodes some values, each on lines of its own.
func encode(prefix string, n int, of func(int) any) encoded {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, "  ")
	for i := range n {
		if i > 0 {
			b.WriteString(",\n" + prefix)
		}
		if err := enc.Encode(of(i)); err != nil {
			return encoded{err: err}
		}
		b.Truncate(b.Len() - 1) // the line end
	}
	return encoded{data: b.Bytes()}
}

// A yamlWriter writes values piece by piece, and keeps the first error.
type yamlWriter struct {
	w   *bufio.Writer
	err error
}

func (y *yamlWriter) field(key string, v any) { y.write(map[string]any{key: v}) }

func (y *yamlWriter) list(key string, n int, of func(int) any) {
	if n == 0 {
		y.write(map[string]any{key: []any{}})
		return
	}
	fmt.Fprintf(y.w, "%s:\n", key) // the error stays in the buffer and comes with its Flush
	for i := range n {
		y.write([]any{of(i)})
	}
}

// write takes the way over JSON, as the field names are there, and not that of sigs.k8s.io/yaml, which reads the JSON again by a
// YAML parser: that takes five times as long.
func (y *yamlWriter) write(v any) {
	if y.err != nil {
		return
	}
	data, err := json.Marshal(v)
	if err != nil {
		y.err = err
		return
	}
	var fields any
	if y.err = utiljson.Unmarshal(data, &fields); y.err != nil { // its integers stay integers
		return
	}
	enc := yaml.NewEncoder(y.w)
	enc.SetIndent(2)
	enc.CompactSeqIndent()
	y.err = errors.Join(enc.Encode(fields), enc.Close())
}
