package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/module"
)

// A source is what a release is made from.
type source struct {
	version  string // the tag of the commit, else a pseudo-version as Go makes it; with +dirty where files differ from the commit
	revision string
	time     time.Time // of the commit: nothing in a release says when it was built
}

// readSource asks git. Go's own stamp is not used: it is missing in linked worktrees and in source archives, and where
// GOFLAGS says so, and the same commit would not give the same bytes. Without git, version and $SOURCE_DATE_EPOCH say it.
func readSource(root, version string) (source, error) {
	git := func(args ...string) (string, error) {
		cmd := exec.Command("git", append([]string{"-C", root}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
		}
		return strings.TrimSpace(string(out)), nil
	}
	s := source{version: version, time: time.Unix(0, 0).UTC()}
	head, err := git("log", "-1", "--format=%H %ct")
	if err != nil {
		if version == "" {
			return s, fmt.Errorf("%w; without git give -version and SOURCE_DATE_EPOCH", err)
		}
		head = " " + os.Getenv("SOURCE_DATE_EPOCH")
	}
	revision, seconds, _ := strings.Cut(head, " ")
	if seconds != "" {
		n, err := strconv.ParseInt(seconds, 10, 64)
		if err != nil {
			return s, fmt.Errorf("read SOURCE_DATE_EPOCH: %w", err)
		}
		s.time = time.Unix(n, 0).UTC()
	}
	s.revision = revision
	if version != "" {
		return s, nil
	}
	if s.version, err = git("describe", "--tags", "--exact-match", "--match=v*"); err != nil {
		before, err := git("describe", "--tags", "--abbrev=0", "--match=v*")
		if err != nil {
			before = ""
		}
		s.version = module.PseudoVersion("v0", before, s.time, revision[:12])
	}
	changed, err := git("status", "--porcelain")
	if err != nil {
		return s, err
	}
	if changed != "" {
		s.version += "+dirty"
	}
	return s, nil
}
