package rules

import (
	"embed"
	"strings"
)

//go:embed doc/*.md
var docFS embed.FS

// Doc is the Markdown page of a rule: why it fails, how that was proven, what the fix does, known false positives; "" if there
// is no such rule.
func Doc(id string) string {
	b, err := docFS.ReadFile("doc/" + id + ".md")
	if err != nil {
		return ""
	}
	return string(b)
}

func docIDs() []string {
	entries, err := docFS.ReadDir("doc")
	if err != nil {
		return nil
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, strings.TrimSuffix(e.Name(), ".md"))
	}
	return ids
}
