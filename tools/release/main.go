// Command release writes what a release is made of, without a container engine and without a network: the image as an OCI layout,
// the archives of the command line, the chart, SBOMs, checksums and the krew manifest. The same commit gives the same bytes.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	root := flag.String("root", "../..", "the checkout of Sixgate")
	out := flag.String("out", "", "folder to write into, which is made anew; default dist in the checkout")
	repository := flag.String("repository", "docker.io/sixgate/webhook", "name of the image, without tag")
	version := flag.String("version", "", "version of the release; default the tag of the commit, or a pseudo-version")
	key := flag.String("key", "", "file with an ECDSA private key (PEM, PKCS #8) that signs the checksums; none: they are not signed")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: release [flags] image|chart|all")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *out == "" {
		*out = filepath.Join(*root, "dist")
	}
	r := release{root: *root, out: *out, repository: *repository, key: *key}
	var err error
	if r.source, err = readSource(*root, *version); err != nil {
		fail(err)
	}
	for _, system := range []string{"darwin", "linux", "windows"} {
		r.platforms = append(r.platforms, platform{system, "amd64"}, platform{system, "arm64"})
	}
	if err := run(r, flag.Args()); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "release: %v\n", err)
	os.Exit(1)
}

// A release says where from, where to, and for which platforms the command line is packed.
type release struct {
	root, out, repository, key string
	source                     source
	platforms                  []platform
}

// tag is the image's: + is not allowed in one.
func (r release) tag() string { return strings.ReplaceAll(r.source.version, "+", "_") }

func run(r release, args []string) error {
	if len(args) != 1 || !slices.Contains([]string{"image", "chart", "all"}, args[0]) {
		return fmt.Errorf("say what to make: image, chart, or all")
	}
	// Only what this command made is removed: the folder has a mark.
	mark := filepath.Join(r.out, ".release")
	if entries, err := os.ReadDir(r.out); err == nil && len(entries) > 0 {
		if _, err := os.Stat(mark); err != nil {
			return fmt.Errorf("%s is not empty and was not made by this command; name another folder by -out", r.out)
		}
		if err := os.RemoveAll(r.out); err != nil {
			return fmt.Errorf("empty the output folder: %w", err)
		}
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return fmt.Errorf("make output folder: %w", err)
	}
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		return fmt.Errorf("mark output folder: %w", err)
	}
	scratch, err := os.MkdirTemp("", "sixgate-release-")
	if err != nil {
		return fmt.Errorf("make scratch folder: %w", err)
	}
	defer os.RemoveAll(scratch)
	if args[0] != "chart" {
		if err := r.image(scratch); err != nil {
			return err
		}
	}
	if args[0] != "image" {
		if err := r.chart(); err != nil {
			return err
		}
	}
	if args[0] == "all" {
		sums, err := r.archives(scratch)
		if err != nil {
			return err
		}
		if err := r.krew(sums); err != nil {
			return err
		}
	}
	if err := r.checksums(); err != nil || r.key == "" {
		return err
	}
	return r.sign(r.key)
}
