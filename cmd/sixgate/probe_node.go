package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sixgate/sixgate/pkg/sockets"
)

// tableFiles are the socket tables below a folder net of the proc file system, in the order in which they are read.
var tableFiles = [...]string{"tcp", "tcp6", "udp", "udp6"}

// A process is one of this machine, by its number.
type process struct {
	pid   int
	netns string // what ns/net says: "net:[4026531840]"
}

// probeNode adds to the report each network namespace of this machine once, or those of some processes. Every port that others reach
// over IPv4 only is a finding: a fault where TCP listens, a warning for UDP, whose clients look like servers.
func probeNode(r *probeReport, proc string, pids []int) error {
	proc = cmp.Or(proc, "/proc")
	processes, hidden, err := processesOf(proc)
	if err != nil {
		return err
	}
	var wanted []process // the first of a namespace speaks for it
	for _, pid := range pids {
		netns, err := os.Readlink(filepath.Join(proc, strconv.Itoa(pid), "ns/net"))
		if err != nil {
			return fmt.Errorf("read network namespace of process %d: %w", pid, cause(err))
		}
		wanted = append(wanted, process{pid, netns})
	}
	if len(pids) == 0 {
		wanted = slices.Clone(processes)
		if hidden > 0 {
			r.Skipped = append(r.Skipped, probeNote{Message: fmt.Sprintf("%d processes of others may not be read; run as root", hidden)})
		}
	}
	slices.SortStableFunc(wanted, func(a, b process) int { return strings.Compare(a.netns, b.netns) })
	for len(wanted) > 0 {
		end := 1
		for end < len(wanted) && wanted[end].netns == wanted[0].netns {
			end++
		}
		readProcesses(r, proc, wanted[:end], processes)
		wanted = wanted[end:]
	}
	slices.SortStableFunc(r.Targets, func(a, b probeTarget) int { return a.PID - b.PID })
	slices.SortStableFunc(r.Findings, func(a, b probeFinding) int { return a.PID - b.PID })
	return nil
}

// processesOf lists the processes whose network namespace can be told, and counts the others.
func processesOf(proc string) (processes []process, hidden int, err error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", proc, cause(err))
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		netns, err := os.Readlink(filepath.Join(proc, e.Name(), "ns/net"))
		switch {
		case err == nil:
			processes = append(processes, process{pid, netns})
		case errors.Is(err, fs.ErrPermission):
			hidden++
		}
	}
	if len(processes)+hidden == 0 {
		return nil, 0, fmt.Errorf("read %s: no processes; is it a proc file system?", proc)
	}
	slices.SortFunc(processes, func(a, b process) int { return a.pid - b.pid })
	return processes, hidden, nil
}

// readProcesses reads one network namespace through the first of some processes that can be read.
func readProcesses(r *probeReport, proc string, through, all []process) {
	var n *sockets.Namespace
	var err error
	var p process
	for _, p = range through {
		if n, err = readTables(filepath.Join(proc, strconv.Itoa(p.pid), "net")); err == nil {
			break
		}
	}
	place := probePlace{PID: p.pid, Process: processName(proc, p.pid)}
	if err != nil {
		r.Errors = append(r.Errors, probeNote{place, err.Error()})
		return
	}
	t := probeTarget{probePlace: place, NetworkNamespace: p.netns, IPv6: n.HasIPv6(), Ports: portsOf(n)}
	owners := ownersOf(proc, n, p.netns, all)
	for i := range t.Ports {
		port := &t.Ports[i]
		for _, l := range n.At(sockets.Protocol(port.Protocol), port.Port) {
			port.Processes = append(port.Processes, owners[l.Inode]...)
		}
		slices.Sort(port.Processes)
		port.Processes = slices.Compact(port.Processes)
		if port.Reach != sockets.IPv4Only.String() {
			continue
		}
		f := probeFinding{probePlace: place, probePort: *port, Level: probeFault, Uses: []probeUse{}, Message: port.String()}
		if port.Protocol == string(sockets.UDP) {
			f.Level = probeWarn
		}
		r.Findings = append(r.Findings, f)
	}
	r.Targets = append(r.Targets, t)
}

func readTables(dir string) (*sockets.Namespace, error) {
	var all []io.Reader
	for _, name := range tableFiles {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(name, "6") {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, name), cause(err))
		}
		defer f.Close()
		all = append(all, f)
	}
	n, err := sockets.Read(io.MultiReader(all...))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dir, cause(err))
	}
	return n, nil
}

// ownersOf names the processes that hold the listeners of a namespace, by inode. Those of others may not be looked at.
func ownersOf(proc string, n *sockets.Namespace, netns string, all []process) map[uint64][]string {
	owners := map[uint64][]string{}
	for _, l := range n.Listeners {
		if l.Inode != 0 {
			owners[l.Inode] = nil
		}
	}
	for _, p := range all {
		if p.netns != netns || len(owners) == 0 {
			continue
		}
		dir := filepath.Join(proc, strconv.Itoa(p.pid), "fd")
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			link, err := os.Readlink(filepath.Join(dir, fd.Name()))
			number, ok := strings.CutPrefix(link, "socket:[")
			if err != nil || !ok {
				continue
			}
			inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
			if _, listens := owners[inode]; err == nil && listens {
				owners[inode] = append(owners[inode], fmt.Sprintf("%s[%d]", processName(proc, p.pid), p.pid))
			}
		}
	}
	return owners
}

// processName is the name of a process, "?" where it is gone.
func processName(proc string, pid int) string {
	text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "comm"))
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(text))
}
