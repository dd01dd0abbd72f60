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
)

// writeJSON writes the report as docs/audit-json.md documents it.
func (r *Report) writeJSON(w io.Writer, _ Options) error {
	j := &jsonWriter{w: bufio.NewWriter(w)}
	j.enc = json.NewEncoder(&j.value)
	j.enc.SetEscapeHTML(false)
	r.fields(j)
	fmt.Fprint(j.w, "\n}\n") // an error stays in the buffer and comes with its Flush
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
	// list starts a list of n elements, which element writes.
	list(key string, n int)
	element(v any)
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
	w.list(key, len(elements))
	for i := range elements {
		w.element(&elements[i])
	}
}

// A jsonWriter writes what encoding/json writes with an indent of two spaces.
type jsonWriter struct {
	w     *bufio.Writer
	enc   *json.Encoder
	value bytes.Buffer
	begun bool
	left  int // elements of the list
	err   error
}

func (j *jsonWriter) key(key string) {
	separator := ","
	if !j.begun {
		j.begun, separator = true, "{"
	}
	fmt.Fprintf(j.w, "%s\n  %q: ", separator, key)
}

func (j *jsonWriter) write(prefix string, v any) {
	if j.err != nil {
		return
	}
	j.value.Reset()
	j.enc.SetIndent(prefix, "  ")
	j.err = j.enc.Encode(v)
	_, _ = j.w.Write(bytes.TrimSuffix(j.value.Bytes(), []byte("\n"))) // as above
}

func (j *jsonWriter) field(key string, v any) {
	j.key(key)
	j.write("  ", v)
}

func (j *jsonWriter) list(key string, n int) {
	j.key(key)
	j.left = n
	if n == 0 {
		_, _ = j.w.WriteString("[]")
		return
	}
	_, _ = j.w.WriteString("[\n    ")
}

func (j *jsonWriter) element(v any) {
	j.write("    ", v)
	if j.left--; j.left > 0 {
		_, _ = j.w.WriteString(",\n    ")
	} else {
		_, _ = j.w.WriteString("\n  ]")
	}
}

// A yamlWriter writes values piece by piece, and keeps the first error.
type yamlWriter struct {
	w   *bufio.Writer
	err error
}

func (y *yamlWriter) field(key string, v any) { y.write(map[string]any{key: v}) }

func (y *yamlWriter) list(key string, n int) {
	if n == 0 {
		y.write(map[string]any{key: []any{}})
		return
	}
	fmt.Fprintf(y.w, "%s:\n", key) // the error stays in the buffer and comes with its Flush
}

func (y *yamlWriter) element(v any) { y.write([]any{v}) }

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
