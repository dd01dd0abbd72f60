package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// chart writes the Helm chart as `helm package` would, with the version of this release and the name of its image.
func (r release) chart() error {
	root := filepath.Join(r.root, "charts", "sixgate")
	var files []file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		switch name {
		case "Chart.yaml":
			if err == nil {
				data, err = replaced(data, `(?m)^version: .*$`, "version: "+strings.TrimPrefix(r.source.version, "v"))
			}
			if err == nil {
				data, err = replaced(data, `(?m)^appVersion: .*$`, "appVersion: "+r.tag())
			}
		case "values.yaml":
			if err == nil {
				data, err = replaced(data, `(?m)^  repository: .*$`, "  repository: "+r.repository)
			}
		}
		files = append(files, file{"sixgate/" + filepath.ToSlash(name), 0o644, data})
		return err
	})
	if err != nil {
		return fmt.Errorf("read chart: %w", err)
	}
	data, err := compressed(r.source.time, files)
	if err != nil {
		return fmt.Errorf("pack chart: %w", err)
	}
	return r.write("sixgate-"+strings.TrimPrefix(r.source.version, "v")+".tgz", data)
}

// replaced changes the one place that a pattern matches.
func replaced(text []byte, pattern, by string) ([]byte, error) {
	re := regexp.MustCompile(pattern)
	if n := len(re.FindAll(text, -1)); n != 1 {
		return nil, fmt.Errorf("%s is there %d times, not once", pattern, n)
	}
	return re.ReplaceAllLiteral(text, []byte(by)), nil
}
