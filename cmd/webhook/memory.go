package main

import (
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// defaultMemory is for where no limit is set: that of the chart.
	defaultMemory = 256 << 20
	// mostMemory is what one replica makes use of.
	mostMemory = 1 << 30
)

// limitMemory makes the garbage collector work harder before the kernel ends the process, unless $GOMEMLIMIT says what it shall do. It
// returns how many bytes there are.
func limitMemory() int64 {
	limit := cgroupMemory("/sys/fs/cgroup", "/proc/self/cgroup")
	if os.Getenv("GOMEMLIMIT") != "" {
		limit = debug.SetMemoryLimit(-1)
	} else if limit > 0 {
		debug.SetMemoryLimit(limit / 10 * 9) // a tenth is for what Go does not count
	}
	if limit == 0 || limit > 1<<50 { // the runtime's word for none
		return defaultMemory
	}
	return min(limit, mostMemory)
}

// cgroupMemory is the memory limit of the control group of this process, in bytes; 0: none. In a container the group is the root of
// what is mounted; elsewhere it is the path that /proc names.
func cgroupMemory(root, groups string) int64 {
	files := []string{"memory.max", "memory/memory.limit_in_bytes"}
	if data, err := os.ReadFile(groups); err == nil {
		for line := range strings.Lines(string(data)) {
			switch f := strings.SplitN(strings.TrimSpace(line), ":", 3); {
			case len(f) != 3:
			case f[1] == "":
				files = append(files, path.Join(path.Clean("/"+f[2]), "memory.max"))
			case f[1] == "memory":
				files = append(files, path.Join("memory", path.Clean("/"+f[2]), "memory.limit_in_bytes"))
			}
		}
	}
	least := int64(0)
	for _, file := range files {
		data, err := os.ReadFile(path.Join(root, file))
		if err != nil {
			continue // no such version, or not mounted
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		if err == nil && n > 0 && n < 1<<50 && (least == 0 || n < least) { // max, or a number near the highest: none
			least = n
		}
	}
	return least
}
