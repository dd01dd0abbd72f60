package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stopGrace is how long a component may take to end after SIGTERM.
const stopGrace = 10 * time.Second

// A process is one running component.
type process struct {
	name string
	log  string // path of its output
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// startProcess starts a component in dir, with env added to a clean environment and its output in dir/<name>.log, in the new namespaces of
// cloneflags. Unless detached it dies with this program.
func startProcess(name, path string, env, args []string, dir string, detach bool, cloneflags uintptr) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir = dir
	p.cmd.Env = append(cleanEnv(dir), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// Not in our process group: ^C in a terminal is for Stop to handle.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: cloneflags}
	if !detach {
		p.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	started := make(chan error)
	go func() {
		// Pdeathsig fires when the thread that forked ends, so keep it until the process is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // ProcessState tells
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// cleanEnv keeps the user's proxies, kubeconfig and caches out.
func cleanEnv(home string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}
}

// exited returns nil as long as the process runs.
func (p *process) exited() error {
	select {
	case <-p.done:
		text, err := os.ReadFile(p.log)
		if err != nil {
			return fmt.Errorf("%s exited (%v): %w", p.name, p.cmd.ProcessState, err)
		}
		return fmt.Errorf("%s exited (%v), its last lines: %s", p.name, p.cmd.ProcessState, lastLines(string(text)))
	default:
		return nil
	}
}

func (p *process) stop() error {
	if err := p.exited(); err != nil {
		return err
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopGrace):
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	<-p.done
	return fmt.Errorf("stop %s: it ignored SIGTERM for %v and was killed", p.name, stopGrace)
}

// lastLines puts the end of a program's output into one line.
func lastLines(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	lines = lines[max(0, len(lines)-3):]
	for i, line := range lines {
		if line = strings.TrimSpace(line); len(line) > 400 {
			line = strings.ToValidUTF8(line[:400], "") + "…"
		}
		lines[i] = line
	}
	if len(lines) == 0 {
		return "(no output)"
	}
	return strings.Join(lines, " | ")
}

// A pidRecord names a detached process so that a later process with its PID is not taken for it.
type pidRecord struct {
	Name    string `json:"name"`
	PID     int    `json:"pid"`
	Started string `json:"started"` // boot ID and start time
}

func pidsFile(dir string) string      { return filepath.Join(dir, "pids.json") }
func kubectlScript(dir string) string { return filepath.Join(dir, "kubectl") }

func writePIDs(dir string, processes []*process) error {
	var records []pidRecord
	for _, p := range processes {
		started, err := startTime(p.cmd.Process.Pid)
		if err != nil {
			return errors.Join(p.exited(), err)
		}
		records = append(records, pidRecord{p.name, p.cmd.Process.Pid, started})
	}
	text, err := json.MarshalIndent(records, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(pidsFile(dir), append(text, '\n'), 0o600)
}

// startTime identifies a live process by boot and start time, see proc_pid_stat(5); a zombie is not alive.
func startTime(pid int) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The name before the last parenthesis may hold anything.
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(f) < 20 || f[0] == "Z" {
		return "", fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	return strings.TrimSpace(string(boot)) + " " + f[19], nil
}

// StopDetached stops the cluster that [Start] left in a state directory with Options.Detach, from any process: SIGTERM,
// and SIGKILL after 10 s. It signals only the processes that Start recorded and keeps the directory. Without a running
// or recorded cluster the error is [fs.ErrNotExist].
func StopDetached(dir string) error {
	text, err := os.ReadFile(pidsFile(dir))
	if err != nil {
		return fmt.Errorf("stop cluster: %w", err)
	}
	var records []pidRecord
	if err := json.Unmarshal(text, &records); err != nil {
		return fmt.Errorf("stop cluster: read %s: %w", pidsFile(dir), err)
	}
	var errs []error
	for _, r := range slices.Backward(records) {
		if err := r.stop(); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", r.Name, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return removeDetached(dir)
}

func removeDetached(dir string) error {
	for _, path := range []string{kubectlScript(dir), pidsFile(dir)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (r pidRecord) stop() error {
	// The handle is taken before the check, and it is a pidfd: the PID cannot change hands in between.
	p, err := os.FindProcess(r.PID)
	if err != nil {
		return err
	}
	defer func() { _ = p.Release() }()
	running := func() bool {
		started, err := startTime(r.PID)
		return err == nil && started == r.Started
	}
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if !running() {
			return nil
		}
		if err := p.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		for end := time.Now().Add(stopGrace); running() && time.Now().Before(end); {
			time.Sleep(50 * time.Millisecond)
		}
	}
	if running() {
		return fmt.Errorf("process %d survived SIGKILL", r.PID)
	}
	return nil
}
