package node

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"runtime"
	"slices"
)

// An image is what a pod of the tests runs: one layer.
type image struct {
	name      string            // with tag
	command   []string          // entrypoint
	arguments []string          // of the entrypoint, unless a pod gives its own
	files     map[string]string // path in the image -> path on this machine
	texts     map[string]string // path in the image -> content
	folders   []string
}

// write writes the image as `docker save` does, which every runtime imports.
func (i image) write(to string) error {
	var layer bytes.Buffer
	t := tar.NewWriter(&layer)
	all := map[string]*tar.Header{}
	data := map[string][]byte{}
	add := func(name string, mode int64, content []byte) {
		all[name] = &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}
		data[name] = content
	}
	for name, from := range i.files {
		content, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("read file of image %s: %w", i.name, err)
		}
		add(name, 0o755, content)
	}
	for name, text := range i.texts {
		add(name, 0o644, []byte(text))
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(all)), i.folders) {
		if _, file := all[name]; file {
			name = path.Dir(name)
		}
		for ; name != "." && all[name] == nil; name = path.Dir(name) {
			all[name] = &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o777 | 0o1000}
		}
	}
	headers := slices.SortedFunc(maps.Values(all), func(a, b *tar.Header) int { return cmp.Compare(a.Name, b.Name) })
	for _, h := range headers {
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("write image %s: %w", i.name, err)
		}
		if _, err := t.Write(data[h.Name]); err != nil {
			return fmt.Errorf("write image %s: %w", i.name, err)
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("write image %s: %w", i.name, err)
	}
	sum := sha256.Sum256(layer.Bytes())
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Entrypoint": i.command, "Cmd": i.arguments},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{i.name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("write image %s: %w", i.name, err)
	}
	w := tar.NewWriter(f)
	for _, part := range []struct {
		name string
		data []byte
	}{{"config.json", config}, {"layer.tar", layer.Bytes()}, {"manifest.json", manifest}} {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: part.name, Mode: 0o644, Size: int64(len(part.data))}))
		_, writeErr := w.Write(part.data)
		err = errors.Join(err, writeErr)
	}
	if err := errors.Join(err, w.Close(), f.Close()); err != nil {
		return fmt.Errorf("write image %s: %w", i.name, err)
	}
	return nil
}

// library finds the paths in what ldd prints.
var library = regexp.MustCompile(`(/\S+) \(0x`)

// nginx is an image of this machine's nginx: the program, its libraries, and a configuration that reads conf.d.
func nginx(program string) (image, error) {
	i := image{
		name:    nginxImage,
		command: []string{"/nginx", "-g", "daemon off;", "-c", "/etc/nginx/nginx.conf"},
		files:   map[string]string{"nginx": program},
		texts: map[string]string{
			"etc/passwd":           "root:x:0:0::/:/nologin\n",
			"etc/group":            "root:x:0:\n",
			"etc/nginx/nginx.conf": "user root;\nerror_log stderr;\npid /run/nginx.pid;\nevents {}\nhttp {\n  access_log off;\n  include /etc/nginx/conf.d/*.conf;\n}\n",
		},
		folders: []string{"run", "tmp", "var/log/nginx", "var/lib/nginx", "etc/nginx/conf.d"},
	}
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return i, fmt.Errorf("list libraries of nginx: %w", err)
	}
	for _, m := range library.FindAllStringSubmatch(string(out), -1) {
		i.files[m[1][1:]] = m[1]
	}
	return i, nil
}
