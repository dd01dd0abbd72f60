package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A dependency is a module that is linked into a command.
type dependency struct {
	Path, Version, Dir string
	commands           []string
	licence            string
	text               []byte // of the licence and of notices, which who passes the program on passes on too
}

// weak are modules whose licence asks that changes to them are published. They are used as they are.
func weak() []string { return []string{"github.com/hashicorp/hcl"} }

// headed are modules without a file of their licence, and a source file that names it in its head.
func headed() map[string]string {
	return map[string]string{"github.com/openreports/reports-api": "apis/openreports.io/v1alpha1/report_types.go"}
}

// dependencies are the modules of both commands, on every platform of a release. They are read from the module cache.
func dependencies(root string) ([]*dependency, error) {
	found := map[string]*dependency{}
	for _, command := range []string{"sixgate", "webhook"} {
		for _, system := range []string{"linux", "darwin", "windows"} {
			if command == "webhook" && system != "linux" {
				continue
			}
			cmd := exec.Command("go", "list", "-deps", "-json=Module", "./cmd/"+command) // #nosec G204 -- of the lists above
			cmd.Dir, cmd.Env = root, append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0", "GOWORK=off")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				return nil, fmt.Errorf("list dependencies of %s: %w: %s", command, err, stderr.String())
			}
			for dec := json.NewDecoder(bytes.NewReader(out)); ; {
				var p struct{ Module *dependency }
				err := dec.Decode(&p)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return nil, fmt.Errorf("list dependencies of %s: %w", command, err)
				}
				if p.Module == nil || p.Module.Version == "" { // the standard library, and this module
					continue
				}
				d := found[p.Module.Path]
				if d == nil {
					d = p.Module
					found[d.Path] = d
				}
				if !slices.Contains(d.commands, command) {
					d.commands = append(d.commands, command)
				}
			}
		}
	}
	var all []*dependency
	for _, d := range found {
		if err := d.readLicence(); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b *dependency) int { return cmp.Compare(a.Path, b.Path) })
	return all, nil
}

// readLicence reads every licence and notice at the top of a module, and names the first licence.
func (d *dependency) readLicence() error {
	entries, err := os.ReadDir(d.Dir)
	if err != nil {
		return fmt.Errorf("read licence of %s: %w", d.Path, err)
	}
	for _, e := range entries {
		name := strings.ToUpper(strings.TrimSuffix(strings.TrimSuffix(e.Name(), filepath.Ext(e.Name())), "-2.0"))
		if e.IsDir() || !slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "PATENTS", "UNLICENSE"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(d.Dir, e.Name()))
		if err != nil {
			return fmt.Errorf("read licence of %s: %w", d.Path, err)
		}
		d.text = append(append(d.text, bytes.TrimSpace(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")))...), "\n\n"...)
		if d.licence == "" {
			d.licence = licenceOf(string(text))
		}
	}
	if file := headed()[d.Path]; file != "" && d.licence == "" {
		source, err := os.ReadFile(filepath.Join(d.Dir, file))
		if err != nil {
			return fmt.Errorf("read licence of %s: %w", d.Path, err)
		}
		head, _, _ := bytes.Cut(source, []byte("package "))
		d.text, d.licence = append(bytes.TrimSpace(head), "\n\n"...), licenceOf(string(head))
	}
	switch {
	case d.licence == "":
		return fmt.Errorf("%s has no licence that is known here: read it, and name it in tools/generate/dependencies.go or do without the module", d.Path)
	case d.licence == "MPL-2.0" && !slices.Contains(weak(), d.Path):
		return fmt.Errorf("%s is under MPL-2.0, which is not as free as the others: do without it, or say in tools/generate/dependencies.go that it is used as it is", d.Path)
	}
	return nil
}

// licenceOf is the SPDX identifier of a licence text; "" for one that is not known, and so not taken for permissive.
func licenceOf(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	has := func(parts ...string) bool {
		for _, p := range parts {
			if !strings.Contains(text, p) {
				return false
			}
		}
		return true
	}
	switch {
	case has("Mozilla Public License", "2.0"): // which names the GNU licences too
		return "MPL-2.0"
	case has("GNU", "General Public License"), has("GNU", "GENERAL PUBLIC LICENSE"):
		return ""
	case has("Apache License", "Version 2.0"):
		return "Apache-2.0"
	case has("Permission is hereby granted, free of charge, to any person obtaining a copy", "The above copyright notice and this permission notice"):
		return "MIT"
	case has("Redistribution and use in source and binary forms", "Neither the name"), has("Redistribution and use in source and binary forms", "names of its contributors"):
		return "BSD-3-Clause"
	case has("Redistribution and use in source and binary forms"):
		return "BSD-2-Clause"
	case has("Permission to use, copy, modify, and"):
		return "ISC"
	}
	return ""
}

// dependencyFiles are the list for reviewers, and the licences for whoever passes the programs on.
func dependencyFiles(root string) (map[string][]byte, error) {
	all, err := dependencies(root)
	if err != nil {
		return nil, err
	}
	var list, notices bytes.Buffer
	fmt.Fprintf(&list, "<!-- Generated from go.mod by `make generate`; do not edit. -->\n# Dependencies\n\nThe %d modules that are linked into the two commands, on any platform. A test compares this page, so that one more shows in review.\n"+
		"Licences other than these are refused by `make generate`; MPL-2.0 only for modules that are used as they are.\n"+
		"The texts are in [THIRD_PARTY_NOTICES](../THIRD_PARTY_NOTICES), which is in every archive and image of a release.\n\n| module | version | licence | in |\n| --- | --- | --- | --- |\n", len(all))
	notices.WriteString("Licences of the modules that are linked into sixgate and its webhook.\nGenerated by `make generate`; do not edit.\n")
	var texts []string // each once, in the order of the first module that has it
	of := map[string][]string{}
	for _, d := range all {
		fmt.Fprintf(&list, "| `%s` | %s | %s | %s |\n", d.Path, d.Version, d.licence, strings.Join(d.commands, ", "))
		if text := string(d.text); of[text] == nil {
			texts = append(texts, text)
		}
		of[string(d.text)] = append(of[string(d.text)], fmt.Sprintf("%s %s (%s)", d.Path, d.Version, d.licence))
	}
	for _, text := range texts {
		fmt.Fprintf(&notices, "\n%s\n%s\n\n%s", strings.Repeat("=", 80), strings.Join(of[text], "\n"), text)
	}
	return map[string][]byte{"docs/dependencies.md": list.Bytes(), "THIRD_PARTY_NOTICES": append(bytes.TrimRight(notices.Bytes(), "\n"), '\n')}, nil
}
