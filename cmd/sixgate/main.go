// Command sixgate audits manifests for an IPv6-only Kubernetes cluster by the rules of the admission webhook. Under the name
// kubectl-sixgate it is a plugin of kubectl.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/sixgate/sixgate/pkg/report"
)

// Exit codes.
const (
	exitFindings = 1
	exitError    = 3 // could not run, or could not audit everything
)

func main() { os.Exit(command()) }

// command runs this process's command line and returns the exit code.
func command() int {
	signal.Ignore(syscall.SIGPIPE) // else a write to a closed pipe ends the program, whatever the exit code would be
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	idle := ballast(64 << 20)
	if idle != nil {
		debug.SetGCPercent(50)
	}
	code := run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr)
	runtime.KeepAlive(idle)
	stop()
	return code
}

// ballast is memory that is never touched, and costs none: it makes the collector wait for half as much, as nearly all memory is garbage at once,
// and half of what is kept counts where that is much. It is nil where the environment says what the collector shall do.
func ballast(bytes int) []byte {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, bytes)
}

// run executes one command line, args[0] is the program's name, and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return runAt(ctx, time.Now, args, stdin, stdout, stderr)
}

// runAt is run by another clock.
func runAt(ctx context.Context, now func() time.Time, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot(args[0], now)
	root.SetArgs(args[1:])
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var code exitCode
	switch {
	case err == nil, errors.Is(err, syscall.EPIPE): // the reader has seen enough
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(stderr, "sixgate: %s\n", report.Printable(strings.TrimSuffix(line, "\n")))
	}
	return exitError
}

// An exitCode ends the program when everything has been said already.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }
