package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	rootModule       = "github.com/sixgate/sixgate"
	kubernetesModule = "k8s.io/kubernetes"
	etcdModule       = "go.etcd.io/etcd/server/v3"
)

// Assets are the paths of the binaries of a control plane.
type Assets struct {
	APIServer, Etcd, Kubectl string
	ControllerManager        string // empty where $KUBEBUILDER_ASSETS has none
}

// Oldest reports whether tests run on the oldest version of Kubernetes that is supported, as SIXGATE_KUBERNETES=oldest says.
func Oldest() bool { return os.Getenv("SIXGATE_KUBERNETES") == "oldest" }

// FindAssets returns the binaries in $KUBEBUILDER_ASSETS where that is set. Otherwise it returns those of the versions
// that tools/kubernetes and tools/etcd name, from ${SIXGATE_CACHE:-<user cache directory>/sixgate}; it builds them
// there if they are missing, which takes some minutes and the Go module proxy, so it must run outside a network
// namespace. SIXGATE_KUBERNETES=oldest takes tools/kubernetes-oldest, whatever KUBEBUILDER_ASSETS says.
// It writes one line per built binary to progress. Every error says how to get the binaries otherwise.
func FindAssets(ctx context.Context, progress io.Writer) (Assets, error) {
	folder := "tools/kubernetes"
	switch which := os.Getenv("SIXGATE_KUBERNETES"); which {
	case "":
	case "oldest":
		folder += "-oldest"
	default:
		return Assets{}, fmt.Errorf("read SIXGATE_KUBERNETES: %q is no version; use \"oldest\", or unset it for the newest", which)
	}
	// Main names the found binaries to the process in its namespace.
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" && !(Oldest() && Outermost()) {
		assets, err := assetsIn(dir)
		if err != nil {
			return Assets{}, fmt.Errorf("read KUBEBUILDER_ASSETS: %w; unset it to build the binaries, or name a directory with kube-apiserver, etcd and kubectl", err)
		}
		return assets, nil
	}
	root, err := findRoot()
	if err != nil {
		return Assets{}, err
	}
	kubernetes, err := moduleVersion(filepath.Join(root, folder, "go.mod"), kubernetesModule)
	if err != nil {
		return Assets{}, err
	}
	etcd, err := moduleVersion(filepath.Join(root, "tools/etcd/go.mod"), etcdModule)
	if err != nil {
		return Assets{}, err
	}
	cache, err := cacheDir()
	if err != nil {
		return Assets{}, err
	}
	dir := filepath.Join(cache, kubernetes+"-"+etcd)
	if assets, err := assetsIn(dir); err == nil {
		return assets, nil
	}
	if Oldest() {
		if err := mayBuild("Kubernetes " + kubernetes); err != nil {
			return Assets{}, err
		}
	}
	ldflags := kubernetesFlags(kubernetes)
	err = build(ctx, root, dir, []program{
		{"etcd", etcd, "tools/etcd", etcdModule, "-s -w"},
		{"kube-apiserver", kubernetes, folder, kubernetesModule + "/cmd/kube-apiserver", ldflags},
		{"kubectl", kubernetes, folder, kubernetesModule + "/cmd/kubectl", ldflags},
		{"kube-controller-manager", kubernetes, folder, kubernetesModule + "/cmd/kube-controller-manager", ldflags},
	}, progress)
	if err != nil {
		return Assets{}, fmt.Errorf("%w; or set KUBEBUILDER_ASSETS to a directory with kube-apiserver, etcd and kubectl", err)
	}
	return assetsIn(dir)
}

// kubernetesFlags are for the linker: kubectl refuses to parse a server version that was not set at link time.
func kubernetesFlags(version string) string {
	const stamp = "k8s.io/component-base/version."
	major, minor, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	return fmt.Sprintf("-s -w -X %[1]sgitVersion=%[2]s -X %[1]sgitMajor=%[3]s -X %[1]sgitMinor=%[4]s", stamp, version, major, minor)
}

// NodeAssets are the paths of what a node and its pods need.
type NodeAssets struct{ Kubelet, Proxy, Scheduler, CoreDNS string }

// FindNode returns the binaries of a node as [FindTools] does; it builds those that are missing.
func FindNode(ctx context.Context, progress io.Writer) (NodeAssets, error) {
	root, err := findRoot()
	if err != nil {
		return NodeAssets{}, err
	}
	cache, err := cacheDir()
	if err != nil {
		return NodeAssets{}, err
	}
	kubernetes, err := moduleVersion(filepath.Join(root, "tools/kubernetes/go.mod"), kubernetesModule)
	if err != nil {
		return NodeAssets{}, err
	}
	coredns, err := moduleVersion(filepath.Join(root, "tools/coredns/go.mod"), "github.com/coredns/coredns")
	if err != nil {
		return NodeAssets{}, err
	}
	dir, dnsDir := filepath.Join(cache, "node-"+kubernetes), filepath.Join(cache, "coredns-"+coredns)
	a := NodeAssets{
		Kubelet: filepath.Join(dir, "kubelet"), Proxy: filepath.Join(dir, "kube-proxy"), Scheduler: filepath.Join(dir, "kube-scheduler"),
		CoreDNS: filepath.Join(dnsDir, "coredns"),
	}
	if _, err := os.Stat(a.Kubelet); err != nil {
		if err := mayBuild("kubelet " + kubernetes); err != nil {
			return NodeAssets{}, err
		}
		var programs []program
		for _, name := range []string{"kubelet", "kube-proxy", "kube-scheduler"} {
			programs = append(programs, program{name, kubernetes, "tools/kubernetes", kubernetesModule + "/cmd/" + name, kubernetesFlags(kubernetes)})
		}
		if err := build(ctx, root, dir, programs, progress); err != nil {
			return NodeAssets{}, err
		}
	}
	if _, err := os.Stat(a.CoreDNS); err != nil {
		if err := mayBuild("CoreDNS " + coredns); err != nil {
			return NodeAssets{}, err
		}
		if err := build(ctx, root, dnsDir, []program{{"coredns", coredns, "tools/coredns", ".", "-s -w"}}, progress); err != nil {
			return NodeAssets{}, err
		}
	}
	return a, nil
}

func assetsIn(dir string) (Assets, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Assets{}, err
	}
	a := Assets{
		APIServer:         filepath.Join(dir, "kube-apiserver"),
		Etcd:              filepath.Join(dir, "etcd"),
		Kubectl:           filepath.Join(dir, "kubectl"),
		ControllerManager: filepath.Join(dir, "kube-controller-manager"),
	}
	for _, path := range []string{a.APIServer, a.Etcd, a.Kubectl} {
		if _, err := os.Stat(path); err != nil {
			return Assets{}, err
		}
	}
	if _, err := os.Stat(a.ControllerManager); err != nil {
		a.ControllerManager = ""
	}
	return a, nil
}

func cacheDir() (string, error) {
	if dir := os.Getenv("SIXGATE_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache: %w; set SIXGATE_CACHE to a directory", err)
	}
	return filepath.Join(dir, "sixgate"), nil
}

// findRoot returns the directory of the project, at or above the working directory.
func findRoot() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		gomod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(gomod), "module "+rootModule+"\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find module %s above %s: none; run inside the project, or set KUBEBUILDER_ASSETS", rootModule, wd)
		}
	}
}

// moduleVersion returns the version at which a go.mod file requires a module.
func moduleVersion(gomod, module string) (string, error) {
	text, err := os.ReadFile(gomod)
	if err != nil {
		return "", fmt.Errorf("read version of %s: %w", module, err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(strings.TrimPrefix(line, "require "))
		if len(f) >= 2 && f[0] == module && strings.HasPrefix(f[1], "v") {
			return f[1], nil
		}
	}
	return "", fmt.Errorf("read version of %s: not required by %s", module, gomod)
}

// lock waits for an exclusive lock on a file, so that two processes do not build at once.
func lock(ctx context.Context, path string, progress io.Writer) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock cache: %w", err)
	}
	for told := false; ; told = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !told {
			fmt.Fprintf(progress, "waiting for another process that builds components (%s)\n", path)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// A program is built from a package, in the module of a folder that pins its version.
type program struct{ name, version, module, pkg, ldflags string }

// ErrNoTime is the error for a program that is missing, where the time for builds that SIXGATE_BUILD_UNTIL gives (seconds since 1970) is over. Only
// the newest control plane is built all the same.
var ErrNoTime = errors.New("the time for builds is over")

func mayBuild(what string) error {
	text := os.Getenv("SIXGATE_BUILD_UNTIL")
	if text == "" {
		return nil
	}
	until, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("read SIXGATE_BUILD_UNTIL: %w; give seconds since 1970, or unset it", err)
	}
	if time.Now().Unix() > until {
		return fmt.Errorf("build %s: %w", what, ErrNoTime)
	}
	return nil
}

// build puts the binaries into dir, all or none, unless another process has done so while we waited for it.
func build(ctx context.Context, root, dir string, programs []program, progress io.Writer) error {
	if _, err := exec.LookPath("go"); err != nil {
		return errors.New("build components: no go command in PATH; install Go")
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("create cache: %w", err)
	}
	unlock, err := lock(ctx, dir+".lock", progress)
	if err != nil {
		return err
	}
	defer unlock()
	if !slices.ContainsFunc(programs, func(p program) bool { _, err := os.Stat(filepath.Join(dir, p.name)); return err != nil }) {
		return nil
	}
	stale, err := filepath.Glob(dir + ".tmp-*") // of a build that was killed
	if err != nil {
		return fmt.Errorf("build components: %w", err)
	}
	for _, old := range stale {
		if err := os.RemoveAll(old); err != nil {
			return fmt.Errorf("build components: %w", err)
		}
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".tmp-*")
	if err != nil {
		return fmt.Errorf("build components: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fmt.Errorf("build components: %w", err)
	}

	for _, b := range programs {
		fmt.Fprintf(progress, "building %s %s (once, it takes minutes) ... ", b.name, b.version)
		start := time.Now()
		// readonly, whatever GOFLAGS says: a build must not change files of the clone.
		cmd := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-ldflags", b.ldflags, "-o", filepath.Join(tmp, b.name), b.pkg)
		cmd.Dir = filepath.Join(root, b.module)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // go then removes its work directory
		cmd.WaitDelay = 10 * time.Second
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(progress, "failed")
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return fmt.Errorf("build %s in %s: %w: %s; check that the Go module proxy can be reached", b.name, cmd.Dir, err, lastLines(out.String()))
		}
		fmt.Fprintln(progress, time.Since(start).Round(time.Second))
	}
	if err := os.Rename(tmp, dir); err != nil {
		// An incomplete directory that we did not write is in the way; leave it to its owner.
		return fmt.Errorf("store components: %w; remove %s", err, dir)
	}
	return nil
}
