package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// writeJSON writes the report as docs/audit-json.md documents it.
func (r *Report) writeJSON(w io.Writer, _ Options) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// writeYAML writes the same as YAML, the lists element by element.
func (r *Report) writeYAML(w io.Writer, _ Options) error {
	y := &yamlWriter{w: bufio.NewWriter(w)}
	y.write(map[string]any{"apiVersion": r.APIVersion})
	y.write(map[string]any{"kind": r.Kind})
	list(y, "findings", r.Findings)
	list(y, "known", r.Known)
	list(y, "gone", r.Gone)
	list(y, "objects", r.Objects)
	list(y, "skipped", r.Skipped)
	list(y, "exceptions", r.Exceptions)
	list(y, "errors", r.Errors)
	y.write(map[string]any{"summary": r.Summary})
	return errors.Join(y.err, y.w.Flush())
}

// A yamlWriter writes values piece by piece, and keeps the first error.
type yamlWriter struct {
	w   *bufio.Writer
	err error
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

func list[T any](y *yamlWriter, key string, elements []T) {
	if len(elements) == 0 {
		y.write(map[string]any{key: []T{}})
		return
	}
	fmt.Fprintf(y.w, "%s:\n", key) // the error stays in the buffer and comes with its Flush
	for i := range elements {
		y.write(elements[i : i+1])
	}
}
