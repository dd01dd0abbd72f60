//go:build e2e

package listen_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sixgate/sixgate/pkg/listen"
)

// A server is how a program of listen.Programs is run here.
type server struct {
	program  string   // its Name there
	packages []string // of Debian
	binary   string   // in PATH or absolute, once the packages are there
	version  []string // prints the version; nil: binary --version
	// command starts the program in the foreground with a configuration file in a folder of the test; nil if all its cases are
	// command lines. $DIR in a case's text is that folder.
	command func(dir, file string) []string
	// prepare fills the folder; nil if it may be empty.
	prepare func(t *testing.T, dir string)
	// complete makes the case's text a configuration that the program can run with; nil: it is one already.
	complete func(c listen.Case, dir string) string
	// user is who runs it; "": root. The folder is given to that user.
	user string
	env  []string
}

// servers are all that are run, by family of programs.
func servers() []server {
	return slices.Concat([]server{nginxServer()}, webServers(), languageServers(), dataServers(), runtimeServers(), daemonServers())
}

// missing are the packages that must be installed first.
func missing() []string {
	var out []string
	for _, s := range servers() {
		if _, err := exec.LookPath(s.binary); err != nil {
			out = append(out, s.packages...)
		}
	}
	return out
}

// TestServers runs each program with each form of its configuration: who reaches it must be who the table says, and everybody
// must once the form is repaired.
func TestServers(t *testing.T) {
	programs := listen.Programs()
	for _, s := range servers() {
		t.Run(s.program, func(t *testing.T) {
			i := slices.IndexFunc(programs, func(p listen.Program) bool { return p.Name == s.program })
			if i < 0 {
				t.Fatal("no such row")
			}
			if _, err := exec.LookPath(s.binary); err != nil {
				t.Skipf("not in PATH, and %v could not be installed: %v", s.packages, err)
			}
			version := s.version
			if version == nil {
				version = []string{s.binary, "--version"}
			}
			out, err := exec.CommandContext(t.Context(), version[0], version[1:]...).CombinedOutput()
			if err != nil {
				t.Logf("%v: %v", version, err)
			}
			line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
			t.Logf("%s; the table was measured with %s", line, programs[i].Ran)
			ran := 0
			for _, c := range programs[i].Cases() {
				if c.NotRun != "" || c.File != "" && s.command == nil {
					continue
				}
				ran++
				t.Run(strings.Join(strings.Fields(c.File+" "+c.Config), " "), func(t *testing.T) {
					s.holds(t, c, c.Binds)
					if c.Binds == listen.IPv4 && !c.NoFix {
						s.holds(t, c.Repaired(), listen.Dual)
					}
				})
			}
			if ran == 0 {
				t.Error("no case was run")
			}
		})
	}
}

// holds runs the program with a case until those reach it who should.
func (s server) holds(t *testing.T, c listen.Case, want listen.Family) {
	t.Helper()
	dir, err := os.MkdirTemp("", "server") // t.TempDir has the name of the test in it, and so every character of a case
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if s.prepare != nil {
		s.prepare(t, dir)
	}
	var argv, env []string
	if c.File == "" {
		for _, w := range listen.Words(strings.ReplaceAll(c.Config, "$DIR", dir)) {
			if name, _, ok := strings.Cut(w, "="); ok && len(argv) == 0 && strings.ToUpper(name) == name {
				env = append(env, w)
			} else {
				argv = append(argv, w)
			}
		}
	} else {
		text := c.Config
		if s.complete != nil {
			text = s.complete(c, dir)
		}
		file := filepath.Join(dir, c.File)
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "$DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
		argv = s.command(dir, file)
	}
	if s.user != "" {
		if out, err := exec.CommandContext(t.Context(), "chown", "-R", s.user, dir).CombinedOutput(); err != nil {
			t.Fatalf("chown: %v: %s", err, out)
		}
		argv = append([]string{"setpriv", "--reuid=" + s.user, "--regid=" + s.user, "--init-groups"}, argv...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var log safeBuffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	cmd.Env = append(append(os.Environ(), "HOME="+dir), append(slices.Clone(s.env), env...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		cancel()
		<-ended
		for reached(c.Port) != listen.Unknown { // children may outlive it for a moment
			time.Sleep(20 * time.Millisecond)
		}
	}()
	steady := 0 // a second socket may open a moment after the first
	got := listen.Unknown
	for steady < 5 {
		select {
		case err := <-ended:
			ended <- err
			if want != listen.Unknown {
				t.Fatalf("%v: ended: %v: %s", argv, err, log.String())
			}
			return
		case <-ctx.Done():
			t.Fatalf("%v: port %s is reached by %s, want %s: %s", argv, c.Port, got, want, log.String())
		case <-time.After(50 * time.Millisecond):
		}
		if got = reached(c.Port); got == want && want != listen.Unknown {
			steady++
		} else {
			steady = 0
		}
	}
}

// reached is who gets an answer on a TCP port of this namespace.
func reached(port string) listen.Family {
	four, six := dials("127.0.0.1", port), dials(podAddress, port)
	switch {
	case four && six:
		return listen.Dual
	case six:
		return listen.IPv6
	case four && wildcard(port):
		return listen.IPv4
	case four, dials("::1", port):
		return listen.Loopback
	}
	return listen.Unknown
}

// wildcard reports whether an IPv4 socket of the port is bound to more than one address: every 127.0.0.0/8 address gets there.
func wildcard(port string) bool { return dials("127.1.2.3", port) }

func dials(host, port string) bool {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), 5*time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// A safeBuffer is written by a process while it is read.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// install gets the packages from Debian. Their servers are not started: that is what policy-rc.d is for.
func install(packages []string) error {
	const policy = "/usr/sbin/policy-rc.d"
	if _, err := os.Stat(policy); os.IsNotExist(err) {
		if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
			return fmt.Errorf("keep packages from starting servers: %w", err)
		}
		defer os.Remove(policy)
	}
	run := func(args ...string) error {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lines[len(lines)-1])
		}
		return nil
	}
	get := func(packages ...string) error {
		return run(append([]string{"install", "-y", "-q", "--no-install-recommends"}, packages...)...)
	}
	if err := get(packages...); err == nil {
		return nil
	}
	if err := run("update", "-q"); err != nil {
		return err
	}
	if err := get(packages...); err == nil {
		return nil
	}
	var errs []error // one package that cannot be had must not take the others with it
	for _, p := range packages {
		if err := get(p); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}
