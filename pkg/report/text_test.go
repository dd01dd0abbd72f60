package report

import (
	"strings"
	"testing"
)

// TestExcerpt: the caret stands under its column, whatever is cut away and however wide a tab is.
func TestExcerpt(t *testing.T) {
	for _, source := range []string{"", "x", "\tä:\t[b]", strings.Repeat("ä\t", 59) + "xy", strings.Repeat("0123456789", 50)} {
		all := []rune(source)
		for column := 0; column <= len(all)+2; column++ {
			line, caret := excerpt(source, column)
			r, c := []rune(line), []rune(caret)
			if len(r) > maxSource+2 {
				t.Fatalf("column %d: %d characters", column, len(r))
			}
			at := len(c) - 1 // the caret is the last character
			if c[at] != '^' || at > len(r) {
				t.Fatalf("column %d: caret %q below %q", column, caret, line)
			}
			if column >= 1 && column <= len(all) && r[at] != all[column-1] {
				t.Errorf("column %d: %q stands over the caret, want %q", column, r[at], all[column-1])
			}
			for i := range at {
				if (c[i] == '\t') != (r[i] == '\t') {
					t.Errorf("column %d: tabs differ:\n%q\n%q", column, line, caret)
				}
			}
		}
	}
}
