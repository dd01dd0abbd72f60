package cluster

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// FindGitOps returns the programs of tools/argocd and tools/flux, which compare and apply as these controllers do, from the same
// cache as FindAssets; it builds those that are missing or have changed, which takes some minutes and the Go module proxy.
func FindGitOps(ctx context.Context, progress io.Writer) (argocd, flux string, err error) {
	if argocd, err = findProgram(ctx, "argocd", "github.com/argoproj/argo-cd/v3", "", progress); err != nil {
		return "", "", err
	}
	flux, err = findProgram(ctx, "flux", "github.com/fluxcd/pkg/ssa", "", progress)
	return argocd, flux, err
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
