package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolationEnv is "new" in the process that has to set its network up, and the identity of the namespace in every
// process below it.
const isolationEnv = "SIXGATE_NETNS"

// Main finds or builds the control plane's binaries and then runs run as [Isolate] does; in it [Start] works without
// any network. It is for TestMain and main: os.Exit(cluster.Main(m.Run)).
func Main(run func() int) int {
	if Outermost() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		assets, err := FindAssets(ctx, os.Stderr)
		stop()
		if err != nil {
			return failed(err)
		}
		// Inside there is no way to a module proxy, and perhaps another home.
		if err := os.Setenv("KUBEBUILDER_ASSETS", filepath.Dir(assets.APIServer)); err != nil {
			fmt.Fprintln(os.Stderr, "cluster:", err)
			return 1
		}
	}
	return Isolate(run)
}

// A Finder finds or builds what tests need, as FindTools does.
type Finder func(ctx context.Context, progress io.Writer) error

// Need is the finder of one function.
func Need[T any](find func(context.Context, io.Writer) (T, error)) Finder {
	return func(ctx context.Context, progress io.Writer) error {
		_, err := find(ctx, progress)
		return err
	}
}

// TestMain is Main for tests that need Sixgate and more programs, which are found before, where the Go module proxy can be reached. Where there is
// no time to build them (ErrNoTime) it says so, runs nothing and returns 0.
func TestMain(run func() int, finders ...Finder) int {
	if Outermost() {
		for _, find := range append([]Finder{Need(func(ctx context.Context, _ io.Writer) (string, error) { return BuildSixgate(ctx) })}, finders...) {
			if err := find(context.Background(), os.Stderr); err != nil {
				return failed(err)
			}
		}
	}
	return Main(run)
}

// failed says why nothing is run, and returns the exit code.
func failed(err error) int {
	if errors.Is(err, ErrNoTime) {
		fmt.Fprintln(os.Stderr, "cluster: no test is run:", err)
		return 0
	}
	fmt.Fprintln(os.Stderr, "cluster:", err)
	return 1
}

// Outermost reports whether this process was started by a person or a test runner, not by Isolate: here the Go module proxy can
// still be reached.
func Outermost() bool { return os.Getenv(isolationEnv) == "" }

// Isolate runs the current program again, with the same arguments, in a network namespace of its own, where it calls
// run, and returns run's exit code (128 + N if signal N ended it, 1 if there is no namespace to be had: the reason is
// one line on stderr). Call it before anything else. The namespace has the addresses 127.0.0.1, ::1 and fd00:6:6::1
// and an IPv6 default route that leads nowhere. Without root the program sees itself as root in a user namespace.
// Signals are passed on, and the program dies with its parent. Inside such a namespace, Isolate only calls run.
func Isolate(run func() int) int {
	if Isolated() {
		return run()
	}
	var code int
	var err error
	if os.Getenv(isolationEnv) == "new" {
		code, err = 1, enter()
	} else {
		code, err = reexec()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "isolate:", err)
	}
	return code
}

// Isolated reports whether this process runs in a namespace that [Isolate] made.
func Isolated() bool {
	id, err := os.Readlink("/proc/self/ns/net")
	return err == nil && os.Getenv(isolationEnv) == id
}

func reexec() (int, error) {
	if _, err := exec.LookPath("ip"); err != nil {
		return 1, errors.New("no ip command in PATH; install iproute2")
	}
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	// Pdeathsig fires when the thread that forked ends, so keep it until the child is gone.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var cmd *exec.Cmd
	for _, userns := range []bool{false, true} {
		cmd = exec.Command(self, os.Args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), isolationEnv+"=new", "NO_PROXY=*", "no_proxy=*") // no proxy is to be reached from inside
		// In a process group of its own a terminal's ^C reaches the child once, from us.
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL, Setpgid: true}
		if userns {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
		if err = cmd.Start(); !errors.Is(err, syscall.EPERM) {
			break
		}
	}
	if err != nil {
		return 1, fmt.Errorf("make a network namespace: %w; run as root, or allow unprivileged user namespaces", err)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	defer close(signals)
	defer signal.Stop(signals)
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // an error means that it is gone, which Wait reports
		}
	}()
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return cmd.ProcessState.ExitCode(), err
}

// enter configures a fresh network namespace and starts the program afresh in it: Go asks only once which IP versions
// there are, and some package may have asked before. It returns only on errors.
func enter() error {
	// A machine's own namespace never has lo down: what follows must not touch that one.
	if lo, err := net.InterfaceByName("lo"); err != nil {
		return fmt.Errorf("find lo: %w", err)
	} else if lo.Flags&net.FlagUp != 0 {
		return fmt.Errorf("%s=new, but this is no fresh network namespace; unset it", isolationEnv)
	}
	for _, line := range []string{
		"link set lo up",
		// veth is everywhere where containers run; dummy is not.
		"link add six0 type veth peer name six1",
		"-6 addr add fd00:6:6::1/64 dev six0 nodad",
		"link set six1 up",
		"link set six0 up",
		"-6 route add default via fd00:6:6::2 dev six0",
	} {
		out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("run ip %s: %w: %s; this needs iproute2, IPv6 and veth in the kernel, and root or unprivileged user namespaces",
				line, err, lastLines(string(out)))
		}
	}
	id, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Setenv(isolationEnv, id); err != nil {
		return err
	}
	// Each thread has its own Pdeathsig, and the one that calls exec is the one that stays: the parent set the first's.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set parent death signal: %w", err)
	}
	return syscall.Exec(self, os.Args, os.Environ())
}
