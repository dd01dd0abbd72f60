package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLicenceOf: what is not known to be permissive has no name.
func TestLicenceOf(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "",
		"All rights reserved.": "",
		"GNU AFFERO GENERAL PUBLIC LICENSE Version 3": "",
		"GNU General Public License":                  "",
		"Business Source License 1.1":                 "",
		"Mozilla Public License Version 2.0 ... \"Secondary License\" GNU General Public License": "MPL-2.0",
		"Apache License\n  Version 2.0, January 2004":                                             "Apache-2.0",
	} {
		if got := licenceOf(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	d := &dependency{Path: "example.net/copyleft", Dir: t.TempDir()}
	for _, text := range []string{"", "GNU General Public License", "Mozilla Public License Version 2.0"} {
		if err := os.WriteFile(filepath.Join(d.Dir, "LICENSE.txt"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d.licence, d.text = "", nil
		if err := d.readLicence(); err == nil || !strings.Contains(err.Error(), "do without") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestPinned: what the action uses is a commit, which nobody can replace.
func TestPinned(t *testing.T) {
	files, err := filepath.Glob("../../.github/workflows/*.y*ml")
	if err != nil {
		t.Fatal(err)
	}
	pinned := regexp.MustCompile(`^[\w./-]+@[0-9a-f]{40} # v`)
	uses := 0
	for _, file := range append(files, "../../action.yml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if what, ok := strings.CutPrefix(strings.TrimLeft(line, " -"), "uses: "); ok {
				if uses++; !pinned.MatchString(what) {
					t.Errorf("%s: %s is not a commit with its version beside it", file, strings.TrimSpace(what))
				}
			}
		}
	}
	if uses == 0 {
		t.Error("nothing is used: this test tests nothing")
	}
}
