package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/template"
	"time"
)

// A file is one file of an archive.
type file struct {
	name string
	mode int64
	data []byte
}

func read(name, from string, mode int64) (file, error) {
	data, err := os.ReadFile(from)
	if err != nil {
		return file{}, fmt.Errorf("read %s: %w", name, err)
	}
	return file{name, mode, data}, nil
}

// writeTar writes files, and the folders that they need, in the order of their names: owner root, one time for all.
func writeTar(w io.Writer, at time.Time, files []file) error {
	var all []file
	seen := map[string]bool{".": true}
	for _, f := range files {
		all = append(all, f)
		for dir := path.Dir(f.name); !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			all = append(all, file{name: dir + "/", mode: 0o755})
		}
	}
	slices.SortFunc(all, func(a, b file) int { return cmp.Compare(a.name, b.name) })
	t := tar.NewWriter(w)
	for _, f := range all {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: at, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
		if _, err := t.Write(f.data); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return t.Close()
}

func compressed(at time.Time, files []file) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression) // writes no name and no time
	if err != nil {
		return nil, err
	}
	if err := errors.Join(writeTar(z, at, files), z.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// archives writes an archive of the command line for each platform, with its SBOM. It returns the SHA-256 of each archive by
// its name.
func (r release) archives(scratch string) (map[string]string, error) {
	extra, err := r.extras(scratch)
	if err != nil {
		return nil, err
	}
	sums := map[string]string{}
	for _, p := range r.platforms {
		b, err := r.build(scratch, "sixgate", p)
		if err != nil {
			return nil, err
		}
		program, err := read(b.name, b.path, 0o755)
		if err != nil {
			return nil, err
		}
		data, err := compressed(r.source.time, append([]file{program}, extra...))
		if err != nil {
			return nil, err
		}
		name := "sixgate_" + p.String()
		sum := sha256.Sum256(data)
		sums[name+".tar.gz"] = hex.EncodeToString(sum[:])
		if err := r.write(name+".tar.gz", data); err != nil {
			return nil, err
		}
		if err := r.sbom(name, p, b); err != nil {
			return nil, err
		}
	}
	return sums, nil
}

// extras are the files beside the program: licence, manual pages and completions, as the program itself writes them.
func (r release) extras(scratch string) ([]file, error) {
	licence, err := read("LICENSE", filepath.Join(r.root, "LICENSE"), 0o644)
	if err != nil {
		return nil, err
	}
	notices, err := read("THIRD_PARTY_NOTICES", filepath.Join(r.root, "THIRD_PARTY_NOTICES"), 0o644)
	if err != nil {
		return nil, err
	}
	files := []file{licence, notices}
	b, err := r.build(scratch, "sixgate", platform{runtime.GOOS, runtime.GOARCH})
	if err != nil {
		return nil, err
	}
	for shell, name := range map[string]string{"bash": "sixgate.bash", "zsh": "_sixgate", "fish": "sixgate.fish", "powershell": "sixgate.ps1"} {
		out, err := exec.Command(b.path, "completion", shell).Output()
		if err != nil {
			return nil, fmt.Errorf("write completion of %s: %w", shell, err)
		}
		files = append(files, file{"completions/" + name, 0o644, out})
	}
	man := filepath.Join(scratch, "man")
	cmd := exec.Command(b.path, "man", man)
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.source.time.Unix()))
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("write manual pages: %w: %s", err, out)
	}
	pages, err := os.ReadDir(man)
	if err != nil {
		return nil, fmt.Errorf("read manual pages: %w", err)
	}
	for _, p := range pages {
		f, err := read("man/man1/"+p.Name(), filepath.Join(man, p.Name()), 0o644)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// krew fills in .krew.yaml as krew-release-bot would, from the archives that are here instead of those that it downloads.
func (r release) krew(sums map[string]string) error {
	text, err := os.ReadFile(filepath.Join(r.root, ".krew.yaml"))
	if err != nil {
		return fmt.Errorf("read krew template: %w", err)
	}
	t, err := template.New(".krew.yaml").Funcs(template.FuncMap{"addURIAndSha": func(url, tag string) (string, error) {
		u, err := template.New("url").Parse(url)
		var uri strings.Builder
		if err == nil {
			err = u.Execute(&uri, map[string]string{"TagName": tag})
		}
		if err != nil {
			return "", err
		}
		sum, ok := sums[path.Base(uri.String())]
		if !ok {
			return "", fmt.Errorf("no archive %s was made", path.Base(uri.String()))
		}
		return "uri: " + uri.String() + "\n    sha256: " + sum, nil
	}}).Parse(string(text))
	if err != nil {
		return fmt.Errorf("read krew template: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, map[string]string{"TagName": r.source.version}); err != nil {
		return fmt.Errorf("fill in krew template: %w", err)
	}
	return r.write("sixgate.yaml", out.Bytes())
}

// checksums writes the SHA-256 of every file of the release, in the format of sha256sum.
func (r release) checksums() error {
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return fmt.Errorf("list the release: %w", err)
	}
	var out strings.Builder
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || strings.HasPrefix(e.Name(), "checksums.txt") {
			continue
		}
		f, err := os.Open(filepath.Join(r.out, e.Name()))
		if err != nil {
			return fmt.Errorf("read the release: %w", err)
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("read the release: %w", err)
		}
		fmt.Fprintf(&out, "%x  %s\n", h.Sum(nil), e.Name())
	}
	return r.write("checksums.txt", []byte(out.String()))
}

func (r release) write(name string, data []byte) error {
	if err := os.WriteFile(filepath.Join(r.out, name), data, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
