package report

import (
	"encoding/json"
	"io"

	"sigs.k8s.io/yaml"
)

// writeJSON writes the report as docs/audit-json.md documents it.
func (r *Report) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// writeYAML writes the same as YAML. The lists of the JSON are written element by element: a YAML encoder takes about 100 bytes
// of memory for each byte.
func (r *Report) writeYAML(w io.Writer) error {
	y := &yamlWriter{w: w}
	y.value("apiVersion", r.APIVersion)
	y.value("kind", r.Kind)
	list(y, "findings", r.Findings)
	list(y, "objects", r.Objects)
	list(y, "skipped", r.Skipped)
	list(y, "errors", r.Errors)
	y.value("summary", r.Summary)
	return y.err
}

type yamlWriter struct {
	w   io.Writer
	err error
}

func (y *yamlWriter) value(key string, v any) {
	if y.err != nil {
		return
	}
	var out []byte
	if out, y.err = yaml.Marshal(map[string]any{key: v}); y.err == nil {
		_, y.err = y.w.Write(out)
	}
}

func list[T any](y *yamlWriter, key string, elements []T) {
	if len(elements) == 0 {
		y.value(key, []T{})
		return
	}
	if y.err == nil {
		_, y.err = io.WriteString(y.w, key+":\n")
	}
	for i := range elements {
		if y.err != nil {
			return
		}
		var out []byte
		if out, y.err = yaml.Marshal(elements[i : i+1]); y.err == nil {
			_, y.err = y.w.Write(out)
		}
	}
}
