package report

import (
	"encoding/json"
	"io"
)

// WriteJSON writes the report as docs/audit-json.md documents it.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}
