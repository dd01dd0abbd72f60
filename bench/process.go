package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime returns the processor time that a process has used, in nanoseconds: /proc/PID/stat counts in hundredths of a second, too
// coarse for some hundred requests. Source: clock_getcpuclockid(3), include/linux/posix-timers_types.h (CPUCLOCK_SCHED).
func cpuTime(pid int) (time.Duration, error) {
	const cpuClockSched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|cpuClockSched, &ts); err != nil {
		return 0, fmt.Errorf("read processor time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// memory returns a size of /proc/PID/status in MB: VmRSS is what is resident now, VmHWM the most that ever was.
func memory(pid int, field string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if name, rest, _ := strings.Cut(line, ":"); name == field {
			kB, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kB / 1000 * 1.024, err
		}
	}
	return 0, fmt.Errorf("no %s in the status of process %d", field, pid)
}

// A run is one program from start to end.
type run struct {
	seconds, cpu float64 // on the clock, and of processors
	peak         float64 // MB resident; the greatest of one process
	code         int
	stdout       []byte
	stderr       string
}

// execute runs a program to its end. A program that ends by itself with an exit code is no error: checkers report findings so.
func execute(ctx context.Context, stdin string, program string, args ...string) (run, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if stdin != "" {
		f, err := os.Open(stdin)
		if err != nil {
			return run{}, err
		}
		defer f.Close()
		cmd.Stdin = f
	}
	runtime.LockOSThread() // Pdeathsig fires when the thread ends
	defer runtime.UnlockOSThread()
	start := time.Now()
	err := cmd.Start()
	if err != nil {
		return run{}, fmt.Errorf("run %s: %w", program, err)
	}
	stop, polled := make(chan struct{}), make(chan float64)
	go func() {
		var most float64
		for {
			if mb, err := memory(cmd.Process.Pid, "VmHWM"); err == nil {
				most = max(most, mb)
			}
			select {
			case <-stop:
				polled <- most
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	err = cmd.Wait()
	close(stop)
	r := run{seconds: time.Since(start).Seconds(), stdout: out.Bytes(), stderr: errOut.String()}
	most := <-polled
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		err = nil
	}
	if err != nil {
		return r, fmt.Errorf("run %s: %w: %s", program, err, firstLine(r.stderr))
	}
	r.code = cmd.ProcessState.ExitCode()
	r.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	// A child's maximum begins with the size of its parent, which it is until exec; below that only polling tells.
	r.peak = float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) * 1.024 / 1000
	if own, err := memory(os.Getpid(), "VmHWM"); err != nil || r.peak <= own {
		r.peak = most
	}
	return r, nil
}

func firstLine(text string) string {
	text = strings.TrimSpace(text)
	line, _, _ := strings.Cut(text, "\n")
	if len(line) > 300 {
		line = strings.ToValidUTF8(line[:300], "")
	}
	return line
}

// machine says in one line on what was measured.
func machine() string {
	cpu := "unknown processor"
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	var u unix.Utsname
	_ = unix.Uname(&u) // an unknown kernel is an empty word
	memory := ""
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if f := strings.Fields(string(text)); len(f) > 1 {
			kB, _ := strconv.ParseFloat(f[1], 64)
			memory = fmt.Sprintf(", %.0f GiB of memory", kB/(1<<20))
		}
	}
	return fmt.Sprintf("%s, %d cores%s, Linux %s, %s", cpu, runtime.NumCPU(), memory, unix.ByteSliceToString(u.Release[:]), runtime.Version())
}

// load returns how many processes wanted a processor in the last minute: what else the machine did.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
