package cluster

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// clockEnv names the file of a Clock.
const clockEnv = "SIXGATE_TEST_CLOCK"

// stepSource is added to Go's package time.
const stepSource = `package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// testStep is in memory that the test shares, in seconds.
var testStep = func() *int64 {
	name, _ := syscall.Getenv("` + clockEnv + `")
	fd, err := syscall.Open(name, syscall.O_RDONLY, 0)
	if err != nil {
		panic(err)
	}
	defer syscall.Close(fd)
	page, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return (*int64)(unsafe.Pointer(&page[0]))
}()

func testAhead() int64 { return atomic.LoadInt64(testStep) }
`

// BuildStepping builds bin/webhook-stepping: the webhook, linked with a package time whose wall clock a Clock moves. Its monotonic clock is the
// machine's, as when a machine's clock is set. Neither the machine's clock nor the webhook's source is touched; time namespaces and LD_PRELOAD
// reach the wall clock of no Go program.
func BuildStepping(ctx context.Context, _ io.Writer) (string, error) {
	root, err := findRoot()
	if err != nil {
		return "", err
	}
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find Go's sources: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(goroot)), "src/time/time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", fmt.Errorf("read Go's sources: %w", err)
	}
	const read = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(source), read) != 1 {
		return "", fmt.Errorf("%s of %s reads the clock in another way", original, runtime.Version())
	}
	stepped := strings.Replace(string(source), read, read+"\tsec += testAhead()\n", 1)
	dir := filepath.Join(root, "bin/stepping")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	replace := map[string]string{original: filepath.Join(dir, "time"), filepath.Join(filepath.Dir(original), "teststep.go"): filepath.Join(dir, "teststep")} // no package of ours
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	for name, data := range map[string]string{"time": stepped, "teststep": stepSource, "overlay.json": string(overlay)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			return "", err
		}
	}
	binary := filepath.Join(root, "bin/webhook-stepping")
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, "./cmd/webhook")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the webhook with a clock that steps: %w: %s", err, out)
	}
	return binary, nil
}

// A Clock is the wall clock of a webhook that BuildStepping has built.
type Clock struct{ file *os.File }

// NewClock makes one that agrees with the machine's, in a new file.
func NewClock(path string) (*Clock, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("make clock: %w", err)
	}
	c := &Clock{f}
	return c, c.Set(0)
}

// Set steps the clock to where it is ahead of the machine's by whole seconds, or behind.
func (c *Clock) Set(ahead time.Duration) error {
	if _, err := c.file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(ahead/time.Second)), 0); err != nil {
		return fmt.Errorf("step clock: %w", err)
	}
	return nil
}

func (c *Clock) env() []string { return []string{clockEnv + "=" + c.file.Name()} }
