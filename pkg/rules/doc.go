package rules

import "embed"

//go:embed testdata/*/page.md
var docFS embed.FS

// Doc is the Markdown page of a rule: why it fails, how that was proven, what the fix does, known false positives; "" if there
// is no such rule.
func Doc(id string) string {
	b, err := docFS.ReadFile("testdata/" + id + "/page.md")
	if err != nil {
		return ""
	}
	return string(b)
}
