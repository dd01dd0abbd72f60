package cluster

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// The programs below are of the versions that the modules in tools name, in the same cache as those of FindAssets. What is missing is built, which
// takes some minutes and the Go module proxy, so outside a network namespace.

// Tools are the paths of programs that call Sixgate.
type Tools struct{ Helm3, Helm4, Kustomize string }

// FindTools returns what packs and installs.
func FindTools(ctx context.Context, progress io.Writer) (Tools, error) {
	f := finder{ctx: ctx, progress: progress, build: true}
	t := Tools{
		Helm3:     f.find("helm3", "helm.sh/helm/v3", "/cmd/helm").path("helm3"),
		Helm4:     f.find("helm4", "helm.sh/helm/v4", "/cmd/helm").path("helm4"),
		Kustomize: f.find("kustomize", "sigs.k8s.io/kustomize/kustomize/v5", "").path("kustomize"),
	}
	return t, f.err
}

// FindArgoCD returns the program of tools/argocd, which compares and syncs as the application controller does.
func FindArgoCD(ctx context.Context, progress io.Writer) (string, error) {
	f := finder{ctx: ctx, progress: progress, build: true}
	return f.find("argocd", "github.com/argoproj/argo-cd/v3", mainOfFolder).path("argocd"), f.err
}

// FindFlux returns the program of tools/flux, which compares and applies as kustomize-controller does.
func FindFlux(ctx context.Context, progress io.Writer) (string, error) {
	f := finder{ctx: ctx, progress: progress, build: true}
	return f.find("flux", "github.com/fluxcd/pkg/ssa", mainOfFolder).path("flux"), f.err
}

// FindCrane returns the program crane, which serves a registry and copies images between registries.
func FindCrane(ctx context.Context, progress io.Writer) (string, error) {
	f := finder{ctx: ctx, progress: progress, build: true}
	return f.find("crane", "github.com/google/go-containerregistry", "/cmd/crane").path("crane"), f.err
}

// A CertManager is cert-manager at the version of tools/certmanager.
type CertManager struct{ Program, CRDs string } // path of the program in tools/certmanager, and a folder of manifests

// FindCertManager returns cert-manager's controllers, and its custom resource definitions from its module.
func FindCertManager(ctx context.Context, progress io.Writer) (CertManager, error) {
	const module = "github.com/cert-manager/cert-manager"
	f := finder{ctx: ctx, progress: progress, build: true}
	program := f.find("certmanager", module, mainOfFolder).path("certmanager")
	if f.err != nil {
		return CertManager{}, f.err
	}
	root, err := findRoot()
	if err != nil {
		return CertManager{}, err
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module)
	cmd.Dir = filepath.Join(root, "tools/certmanager")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	dir, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(dir)) == "" {
		return CertManager{}, fmt.Errorf("find manifests of %s: no folder (%w); run `go mod download` in %s", module, err, cmd.Dir)
	}
	return CertManager{Program: program, CRDs: filepath.Join(strings.TrimSpace(string(dir)), "deploy/crds")}, nil
}

// A Peer is a program that Sixgate is measured against.
type Peer struct{ Path, Module, Version string }

// Peers are the programs of the benchmarks.
type Peers struct{ KyvernoCLI, Kyverno, Gator, Conftest, KubeScore Peer }

// FindPeers returns the peers. Without build a missing one is an error, [fs.ErrNotExist].
func FindPeers(ctx context.Context, build bool, progress io.Writer) (Peers, error) {
	f := finder{ctx: ctx, progress: progress, build: build}
	peer := func(t tool, name string) Peer { return Peer{t.path(name), t.module, t.version} }
	kubeScore := f.find("kube-score", "github.com/zegl/kube-score", "/cmd/kube-score")
	conftest := f.find("conftest", "github.com/open-policy-agent/conftest", "")
	gator := f.find("gator", "github.com/open-policy-agent/gatekeeper/v3", "/cmd/gator")
	kyverno := f.find("kyverno", "github.com/kyverno/kyverno", "/cmd/cli/kubectl-kyverno", "/cmd/kyverno")
	return Peers{
		KyvernoCLI: peer(kyverno, "kubectl-kyverno"), Kyverno: peer(kyverno, "kyverno"),
		Gator: peer(gator, "gator"), Conftest: peer(conftest, "conftest"), KubeScore: peer(kubeScore, "kube-score"),
	}, f.err
}

// A tool is a directory of programs of one module.
type tool struct{ dir, module, version string }

func (t tool) path(name string) string { return filepath.Join(t.dir, name) }

// A finder finds programs in the cache until the first error.
type finder struct {
	ctx      context.Context
	progress io.Writer
	build    bool
	err      error
}

// mainOfFolder is the main.go of tools/<name>, which is part of the version.
const mainOfFolder = "."

// find returns the programs that tools/<name> pins: packages below the module, or mainOfFolder. One package gives the program <name>, of several
// each its own last element.
func (f *finder) find(name, module string, packages ...string) tool {
	t := tool{module: module}
	if f.err == nil {
		f.err = f.fill(&t, name, packages)
	}
	return t
}

func (f *finder) fill(t *tool, name string, packages []string) error {
	root, err := findRoot()
	if err != nil {
		return err
	}
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	folder := filepath.Join("tools", name)
	if t.version, err = moduleVersion(filepath.Join(root, folder, "go.mod"), t.module); err != nil {
		return err
	}
	t.dir = filepath.Join(cache, name+"-"+t.version)
	if packages[0] == mainOfFolder {
		source, err := os.ReadFile(filepath.Join(root, folder, "main.go"))
		if err != nil {
			return fmt.Errorf("build %s: %w", name, err)
		}
		t.dir += fmt.Sprintf("-%.4x", sha256.Sum256(source))
	}
	var programs []program
	missing := error(nil)
	for _, pkg := range packages {
		p := program{name, t.version, folder, t.module + pkg, "-s -w"}
		if pkg == mainOfFolder {
			p.pkg = pkg
		}
		if len(packages) > 1 {
			p.name = path.Base(pkg)
		}
		programs = append(programs, p)
		if _, err := os.Stat(t.path(p.name)); err != nil {
			missing = err
		}
	}
	if missing == nil {
		return nil
	}
	if !f.build {
		return fmt.Errorf("find %s %s: %w", name, t.version, missing)
	}
	if err := mayBuild(name + " " + t.version); err != nil {
		return err
	}
	return build(f.ctx, root, t.dir, programs, f.progress)
}
