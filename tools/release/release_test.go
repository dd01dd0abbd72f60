//go:build e2e

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/platforms"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// TestRelease makes image and archives of this machine's platform twice, from two folders, and looks at them as those who use them do.
func TestRelease(t *testing.T) {
	host := platform{runtime.GOOS, runtime.GOARCH}
	first := release{root: "../..", out: filepath.Join(t.TempDir(), "first"), repository: repository, platforms: []platform{host}}
	second := first
	second.root, second.out = copyOf(t, first.root), filepath.Join(t.TempDir(), "second")
	for _, r := range []release{first, second} {
		var err error
		if r.source, err = readSource(r.root, ""); err != nil {
			t.Fatal(err)
		}
		if err := run(r, []string{"image"}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.archives(t.TempDir()); err != nil {
			t.Fatal(err)
		}
		if err := r.checksums(); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("same bytes", func(t *testing.T) {
		a, b := sums(t, first.out), sums(t, second.out)
		if !maps.Equal(a, b) || len(a) < 10 {
			t.Errorf("first:\n%v\nsecond:\n%v", a, b)
		}
	})
	t.Run("image", func(t *testing.T) { testImage(t, first.out) })
	t.Run("push", func(t *testing.T) { testPush(t, first.out) })
	t.Run("containerd", func(t *testing.T) { testContainerd(t, first.out) })
	t.Run("bill of materials", func(t *testing.T) { testBill(t, first.out) })
	t.Run("archive", func(t *testing.T) { testArchive(t, first.out, host) })
}

// copyOf copies the checkout: nothing in a release may depend on where it lies.
func copyOf(t *testing.T, root string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "elsewhere")
	names, err := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		info, err := os.Stat(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(root, name))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), data, info.Mode())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// The same commit: what the build records of it is in both.
	dir, err := exec.Command("git", "-C", root, "rev-parse", "--absolute-git-dir").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, ".git"), append([]byte("gitdir: "), dir...), 0o644); err != nil {
		t.Fatal(err)
	}
	return to
}

// sums are the digests of all files below a folder.
func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		sum := sha256.Sum256(data)
		out[strings.TrimPrefix(path, dir)] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func testImage(t *testing.T, out string) {
	path, err := layout.FromPath(filepath.Join(out, "image"))
	if err != nil {
		t.Fatal(err)
	}
	outer, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(outer); err != nil {
		t.Fatal(err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 || !strings.HasPrefix(manifest.Manifests[0].Annotations["io.containerd.image.name"], repository+":v") {
		t.Fatalf("%+v %v", manifest, err)
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if manifest, err = index.IndexManifest(); err != nil || len(manifest.Manifests) != 2 {
		t.Fatalf("%+v %v", manifest, err)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		if p := manifest.Manifests[i].Platform; p == nil || p.OS != "linux" || p.Architecture != arch {
			t.Errorf("manifest %d is for %+v", i, p)
		}
		img, err := index.Image(manifest.Manifests[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		testConfig(t, img, arch)
		root := extract(t, img)
		machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]
		for _, name := range []string{"webhook", "sixgate"} {
			testStatic(t, filepath.Join(root, name), machine)
		}
		if arch == runtime.GOARCH {
			testRuns(t, root, img)
		}
	}
}

func testConfig(t *testing.T, img v1.Image, arch string) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config
	if c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/webhook"}) || len(c.Cmd) > 0 || len(c.Env) > 0 || len(c.Volumes) > 0 ||
		config.Architecture != arch || config.OS != "linux" || c.Labels["org.opencontainers.image.version"] == "" || len(config.History) != 2 {
		t.Errorf("%s: %+v", arch, config)
	}
}

// extract writes the content of an image into a folder, and holds it to what belongs there: no shell, no other program.
func extract(t *testing.T, img v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	var names []string
	content := mutate.Extract(img)
	defer content.Close()
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprintf("%s %o %d:%d", h.Name, h.Mode, h.Uid, h.Gid))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(filepath.Join(dir, h.Name), 0o755)
		} else {
			var data []byte
			if data, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(filepath.Join(dir, h.Name), data, fs.FileMode(h.Mode))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(names)
	if want := []string{"licenses 755 0:0", "licenses/LICENSE 444 0:0", "licenses/THIRD_PARTY_NOTICES 444 0:0", "sixgate 555 0:0", "webhook 555 0:0"}; !slices.Equal(names, want) {
		t.Errorf("content: %v", names)
	}
	return dir
}

func testStatic(t *testing.T, path string, machine elf.Machine) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Machine != machine {
		t.Errorf("%s is for %s", path, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s is not static", path)
		}
	}
}

// testRuns runs both commands with nothing but the image around them, and with its user, where this test may do so.
func testRuns(t *testing.T, root string, img v1.Image) {
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for dir := root; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"/webhook", "--version"}, {"/sixgate", "version"}} {
		cmd := exec.Command(args[0], args[1:]...)
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
			cmd.Dir, cmd.Env = "/", []string{}
		} else {
			t.Log("not root: the command sees this machine's files, too")
			cmd.Path = root + args[0]
			cmd.Err = nil
		}
		out, err := cmd.CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != config.Config.Labels["org.opencontainers.image.version"] {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
}

// testPush pushes the layout to a registry as the release does, and reads it back.
func testPush(t *testing.T, out string) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	go server.Serve(l) //nolint:errcheck // ends with the test
	defer server.Close()
	name := l.Addr().String() + "/sixgate/webhook:v0.1.0"
	crane := func(args ...string) string {
		t.Helper()
		text, err := exec.Command("go", append([]string{"tool", "crane", "--insecure"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("crane %v: %v: %s", args, err, text)
		}
		return string(text)
	}
	crane("push", filepath.Join(out, "image"), name)
	if config := crane("config", "--platform", "linux/arm64", name); !strings.Contains(config, `"architecture":"arm64"`) || !strings.Contains(config, user) {
		t.Errorf("config: %s", config)
	}
}

// testContainerd imports image.tar by the code behind `ctr images import` and the image loading of kind.
func testContainerd(t *testing.T, out string) {
	store, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(out, "image.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	index, err := archive.ImportIndex(t.Context(), store, f)
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := images.Children(t.Context(), store, index)
	if err != nil || len(manifests) != 1 || !strings.HasPrefix(manifests[0].Annotations["io.containerd.image.name"], repository+":v") {
		t.Fatalf("%+v %v", manifests, err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		only := platforms.OnlyStrict(platforms.MustParse("linux/" + arch))
		if _, err := images.Manifest(t.Context(), store, manifests[0], only); err != nil {
			t.Errorf("%s: %v", arch, err)
		}
		available, _, _, missing, err := images.Check(t.Context(), store, manifests[0], only)
		if err != nil || !available || len(missing) > 0 {
			t.Errorf("%s: available %t, missing %v: %v", arch, available, missing, err)
		}
	}
}

func testBill(t *testing.T, out string) {
	names, err := filepath.Glob(filepath.Join(out, "*.cdx.json"))
	if err != nil || len(names) != 3 {
		t.Fatalf("%v %v", names, err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var bom cdx.BOM
		if err := cdx.NewBOMDecoder(bytes.NewReader(data), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
			t.Fatal(err)
		}
		have, refs := map[string]bool{}, map[string]bool{bom.Metadata.Component.BOMRef: true}
		for _, c := range *bom.Components {
			if refs[c.BOMRef] {
				t.Errorf("%s: %s is there twice", name, c.BOMRef)
			}
			refs[c.BOMRef], have[c.Name] = true, true
		}
		for _, want := range []string{"k8s.io/api", "stdlib", "go.yaml.in/yaml/v3"} {
			if !have[want] {
				t.Errorf("%s: %s is missing", name, want)
			}
		}
		for _, d := range *bom.Dependencies {
			for _, ref := range append([]string{d.Ref}, *d.Dependencies...) {
				if !refs[ref] {
					t.Errorf("%s: %s is no component", name, ref)
				}
			}
		}
	}
}

// testArchive: what is in it, that its sum is in the list, and that it works.
func testArchive(t *testing.T, out string, p platform) {
	name := "sixgate_" + p.String() + ".tar.gz"
	data, err := os.ReadFile(filepath.Join(out, name))
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(out, "checksums.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x  %s\n", sha256.Sum256(data), name); !strings.Contains(string(list), want) {
		t.Errorf("%q is not in:\n%s", want, list)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	program := filepath.Join(t.TempDir(), "sixgate")
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Name != "sixgate" {
			continue
		}
		content, err := io.ReadAll(r)
		if err == nil {
			err = os.WriteFile(program, content, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"LICENSE", "THIRD_PARTY_NOTICES", "completions/_sixgate", "completions/sixgate.bash", "completions/sixgate.fish", "completions/sixgate.ps1", "sixgate"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not in %v", want, names)
		}
	}
	if out, err := exec.Command(program, "version").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "v") {
		t.Errorf("%v: %s", err, out)
	}
}
