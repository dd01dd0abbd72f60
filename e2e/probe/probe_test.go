//go:build e2e

// Package probe_test holds `sixgate probe` against processes that really listen, each in a network namespace of its own as a pod's are:
// through /proc, and through the exec of a real API server; and `sixgate policy --cluster` against the objects of one.
package probe_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// listenEnv makes this program listen: "tcp4 0.0.0.0:8080" and so on, with commas between.
const listenEnv = "SIXGATE_PROBE_LISTEN"

func TestMain(m *testing.M) {
	if sockets := os.Getenv(listenEnv); sockets != "" {
		if err := serve(sockets); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if cluster.Outermost() {
		if _, err := cluster.BuildSixgate(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(cluster.Main(m.Run))
}

// serve opens the sockets in a network namespace with nothing but lo, says "ready" and holds them until standard input ends.
func serve(sockets string) error {
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	for _, s := range strings.Split(sockets, ",") {
		network, address, _ := strings.Cut(s, " ")
		config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
			if strings.HasSuffix(network, "6") { // Go would choose by itself
				if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1) }); e != nil {
					return e
				}
			}
			return err
		}}
		var socket io.Closer
		var err error
		if strings.HasPrefix(network, "udp") {
			socket, err = config.ListenPacket(context.Background(), network, address)
		} else {
			socket, err = config.Listen(context.Background(), network, address)
		}
		if err != nil {
			return err
		}
		defer socket.Close()
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// listen starts a process that listens, in a network namespace of its own, and returns its number.
func listen(t *testing.T, sockets ...string) int {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), listenEnv+"="+strings.Join(sockets, ","))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	started, done := make(chan error), make(chan struct{})
	go func() {
		// Pdeathsig fires when the thread that forked ends, so keep it until the process is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			<-done
			_ = cmd.Wait() // the test has ended
			done <- struct{}{}
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		done <- struct{}{}
		<-done
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("listen: %v: %s", err, line)
	}
	return cmd.Process.Pid
}

// A result is what the program said.
type result struct {
	out, err string
	code     int
}

// sixgate probes with the built program.
func sixgate(t *testing.T, kubeconfig string, args ...string) result {
	t.Helper()
	return command(t, kubeconfig, append([]string{"probe"}, args...)...)
}

// command runs the built program.
func command(t *testing.T, kubeconfig string, args ...string) result {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(root, "bin/sixgate"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "HOME="+t.TempDir())
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	return result{out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// expect compares everything that was said.
func (r result) expect(t *testing.T, code int, out, stderr string) {
	t.Helper()
	if r.code != code || r.out != out || r.err != stderr {
		t.Errorf("exit code %d, want %d\n--- stdout\n%s--- want\n%s--- stderr\n%s--- want\n%s", r.code, code, r.out, out, r.err, stderr)
	}
}

// kinds is a socket of every kind.
func kinds() []string {
	return []string{"tcp4 0.0.0.0:8080", "tcp [::]:8081", "tcp6 [::]:8082", "tcp4 127.0.0.1:8083", "tcp6 [::1]:8083",
		"tcp4 0.0.0.0:8084", "tcp6 [::1]:8084", "tcp4 0.0.0.0:8085", "tcp6 [::]:8085",
		"udp4 0.0.0.0:5353", "udp [::]:5354", "udp6 [::1]:5355"}
}

// TestPID reads a process of this machine. Go's listeners of TCP are those of Multipath TCP where the kernel has it.
func TestPID(t *testing.T) {
	pid := listen(t, kinds()...)
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		t.Fatal(err)
	}
	lines := func(text string) string {
		name := strings.TrimSpace(string(comm))
		return strings.NewReplacer("PID", fmt.Sprintf("pid %d (%s)", pid, name), "BY", fmt.Sprintf("by %s[%d]", name, pid)).Replace(text)
	}
	findings := `PID: fault: port 8080 listens on IPv4 only (0.0.0.0:8080) BY
PID: fault: port 8084 listens on IPv4 only (0.0.0.0:8084, [::1]:8084) BY
PID: warn: port 5353/UDP listens on IPv4 only (0.0.0.0:5353) BY
`
	summary := "1 network namespace read: 2 faults, 1 warning\n"
	sixgate(t, "", "--pid", strconv.Itoa(pid)).expect(t, 1, lines(findings+summary), "")
	sixgate(t, "", "--pid", strconv.Itoa(pid), "--listeners").expect(t, 1, lines(findings+`PID: port 8081 listens on IPv6 ([::]:8081) BY
PID: port 8082 listens on IPv6 ([::]:8082) BY
PID: port 8083 listens on loopback only (127.0.0.1:8083, [::1]:8083) BY
PID: port 8085 listens on IPv6 (0.0.0.0:8085, [::]:8085) BY
PID: port 5354/UDP listens on IPv6 ([::]:5354) BY
PID: port 5355/UDP listens on loopback only ([::1]:5355) BY
`+summary), "")

	good := listen(t, "tcp [::]:8081", "tcp4 127.0.0.1:8083")
	sixgate(t, "", "--pid", strconv.Itoa(good)).expect(t, 0, "1 network namespace read: 0 faults, 0 warnings\n", "")

	// Each network namespace of the machine once, whichever of its processes was found.
	all := sixgate(t, "", "--proc", "/proc", "-o", "json")
	var report struct {
		Targets []struct {
			PID              int    `json:"pid"`
			NetworkNamespace string `json:"networkNamespace"`
		} `json:"targets"`
	}
	if err := json.Unmarshal([]byte(all.out), &report); err != nil {
		t.Fatalf("%v: %s%s", err, all.out, all.err)
	}
	for _, want := range []int{pid, good} {
		id, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", want))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, target := range report.Targets {
			if target.NetworkNamespace == id {
				n++
				if target.PID != want {
					t.Errorf("%s by process %d, want %d", id, target.PID, want)
				}
			}
		}
		if n != 1 {
			t.Errorf("network namespace %s of process %d is there %d times", id, want, n)
		}
	}
	if slices.ContainsFunc(strings.Split(all.err, "\n"), func(line string) bool { return line != "" }) {
		t.Errorf("JSON leaves standard error alone: %s", all.err)
	}
}
