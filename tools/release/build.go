package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// A platform is what a binary is built for, in Go's words.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "_" + p.arch }

// A binary is one command, built for one platform.
type binary struct {
	name string // as it is installed
	path string
	info *buildinfo.BuildInfo
}

// build builds ./cmd/<command>, static, without paths of this machine. The commands of one platform share a folder.
func (r release) build(scratch, command string, p platform) (*binary, error) {
	b := &binary{name: command}
	if p.os == "windows" {
		b.name += ".exe"
	}
	b.path = filepath.Join(scratch, p.String(), b.name)
	abs, err := filepath.Abs(b.path)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -X main.released="+r.source.version, "-o", abs, "./cmd/"+command)
	cmd.Dir = r.root
	// What else could change the bytes has its default.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.os, "GOARCH="+p.arch, "GOFLAGS=-mod=readonly", "GOWORK=off",
		"GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s for %s: %w: %s", command, p, err, out)
	}
	if b.info, err = buildinfo.ReadFile(b.path); err != nil {
		return nil, fmt.Errorf("read build info: %w", err)
	}
	return b, nil
}
