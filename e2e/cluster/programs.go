package cluster

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// FindArgoCD is FindFlux for the program of tools/argocd, which compares and syncs as the application controller does.
func FindArgoCD(ctx context.Context, progress io.Writer) (string, error) {
	return findProgram(ctx, "argocd", "github.com/argoproj/argo-cd/v3", "", progress)
}

// FindFlux returns the program of tools/flux, which compares and applies as kustomize-controller does, from the same cache as
// FindAssets; it builds it if it is missing or has changed, which takes some minutes and the Go module proxy.
func FindFlux(ctx context.Context, progress io.Writer) (string, error) {
	return findProgram(ctx, "flux", "github.com/fluxcd/pkg/ssa", "", progress)
}

// FindCrane returns the program crane, which serves a registry and copies images between registries, from the same cache.
func FindCrane(ctx context.Context, progress io.Writer) (string, error) {
	return findProgram(ctx, "crane", "github.com/google/go-containerregistry", "/cmd/crane", progress)
}

// findProgram builds the program of a folder in tools: a package of a module or, without one, the main.go of the folder, which is part
// of the version then.
func findProgram(ctx context.Context, name, module, pkg string, progress io.Writer) (string, error) {
	root, err := findRoot()
	if err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join("tools", name)
	version, err := moduleVersion(filepath.Join(root, folder, "go.mod"), module)
	if err != nil {
		return "", err
	}
	target := module + pkg
	if pkg == "" {
		source, err := os.ReadFile(filepath.Join(root, folder, "main.go"))
		if err != nil {
			return "", fmt.Errorf("build %s: %w", name, err)
		}
		target, version = ".", fmt.Sprintf("%s-%.4x", version, sha256.Sum256(source))
	}
	dir := filepath.Join(cache, name+"-"+version)
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, build(ctx, root, dir, []program{{name, version, folder, target, "-s -w"}}, progress)
}
