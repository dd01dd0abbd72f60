package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/rogpeppe/go-internal/testscript"
)

func service(name string) string {
	return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + "}\nspec: {ipFamilies: [IPv4]}\n"
}

// hostileInput are inputs that are too large or too strange for a story to show.
func hostileInput(what string) []byte {
	good := service("good")
	var b bytes.Buffer
	switch what {
	case "binary":
		b.WriteString("\x7fELF\x02\x01\x01\x00\x00" + strings.Repeat("\xff\x00\x01---\n", 1000))
	case "50 MB document":
		b.WriteString(good + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: big}\ndata:\n  x: |\n")
		for b.Len() < 50<<20 {
			b.WriteString("    " + strings.Repeat("y", 1000) + "\n")
		}
		b.WriteString("---\n" + good)
	case "50 MB line":
		b.WriteString(good + "---\n# " + strings.Repeat("x", 50<<20) + "\n---\n" + good)
	case "10,000 documents":
		for i := range 10_000 {
			b.WriteString("---\n" + service("s"+strconv.Itoa(i)))
		}
	case "aliases":
		b.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\na: &a [x,x,x,x,x,x,x,x,x]\n")
		for c := 'b'; c < 'k'; c++ {
			fmt.Fprintf(&b, "%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat("*"+string(c-1)+",", 9), ","))
		}
		b.WriteString("---\n" + good)
	case "deep YAML":
		b.WriteString("apiVersion: v1\nkind: ConfigMap\nx: " + strings.Repeat("[", 100_000) + "\n---\n" + good)
	case "deep JSON":
		b.WriteString(`{"apiVersion": "v1", "kind": "ConfigMap", "x": ` + strings.Repeat(`{"a":`, 100_000) + "\n---\n" + good)
	case "CRLF":
		b.WriteString(strings.ReplaceAll(good+"---\n"+good, "\n", "\r\n"))
	case "byte order mark":
		b.WriteString("\ufeff" + good)
	case "UTF-16":
		b.WriteString("\xff\xfe")
		for _, u := range utf16.Encode([]rune("# ä\n" + good)) {
			b.Write([]byte{byte(u), byte(u >> 8)})
		}
	case "Latin-1":
		b.WriteString("# \xe4\n" + good + "---\n" + good)
	}
	return b.Bytes()
}

// writeHostile writes an input: hostile WHAT FILE.
func writeHostile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: hostile WHAT FILE")
	}
	data := hostileInput(args[0])
	if len(data) == 0 {
		ts.Fatalf("unknown input %q", args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), data, 0o644))
}

// TestFixInterrupted: who ends fix half-way has files that are as they were, or repaired, and nothing else in the folder.
func TestFixInterrupted(t *testing.T) {
	program, err := exec.LookPath("sixgate") // testscript.Main has put the test binary there
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	before, after := strings.Repeat("# "+strings.Repeat("x", 100)+"\n", 100)+service("a"), ""
	after = strings.Replace(before, "IPv4", "IPv6", 1)
	const files = 500
	name := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%03d.yaml", i)) }
	for i := range files {
		if err := os.WriteFile(name(i), []byte(before), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, "fix", dir)
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if data, err := os.ReadFile(name(0)); err == nil && string(data) == after {
			break
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it may have come to its end
	if code := cmd.ProcessState.ExitCode(); code == exitError && errs.String() != "sixgate: interrupted\n" || code != exitError && code != 0 {
		t.Errorf("exit code %d, %q", code, errs.String())
	}
	repaired := 0
	for i := range files {
		data, err := os.ReadFile(name(i))
		switch {
		case err != nil:
			t.Error(err)
		case string(data) == after:
			repaired++
		case string(data) != before:
			t.Errorf("%s is neither as it was nor repaired", name(i))
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != files {
		t.Errorf("%d entries in the folder, want %d: %v", len(entries), files, err)
	}
	t.Logf("%d of %d files repaired", repaired, files)
}

// TestTwoPasses: an input that is too large to be kept gives the same report as one that is kept, from a file and from standard
// input, also where one object is judged by another that comes after it.
func TestTwoPasses(t *testing.T) {
	const objects = `apiVersion: v1
kind: ConfigMap
metadata: {name: config}
data: {nginx.conf: "server { listen 8080; }"}
---
apiVersion: v1
kind: Pod
metadata: {name: pod}
spec:
  containers: [{name: a, image: a, ports: [{containerPort: 9090}]}]
  volumes: [{name: config, configMap: {name: config}}]
`
	fingerprint := regexp.MustCompile(`"fingerprint": "[0-9a-f]+"`)
	audit := func(in string, file bool) string {
		arg := "-"
		if file {
			arg = filepath.Join(t.TempDir(), "in.yaml")
			if err := os.WriteFile(arg, []byte(in), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"sixgate", "audit", "-o", "json", arg}, strings.NewReader(in), &out, &errs)
		if errs.Len() > 0 {
			t.Error(errs.String())
		}
		text := fingerprint.ReplaceAllString(out.String(), "") // the name of the file is in it
		if file {
			text = strings.ReplaceAll(text, arg, stdinName)
		}
		return fmt.Sprint(code, text)
	}
	padding := "# " + strings.Repeat("x", 1000) + "\n"
	config, pod, _ := strings.Cut(objects, "---\n")
	last := pod + "---\n" + config // so that the padding makes the ConfigMap too large to be kept until the Pod is known
	for _, in := range []string{objects, last} {
		want := audit(in, false)
		if !strings.Contains(want, `"level": "warn"`) { // the Pod does not name the port, else it were deny
			t.Fatal(want)
		}
		large := in + strings.Repeat(padding, keepBytes/len(padding)+1)
		for name, got := range map[string]string{"file": audit(in, true), "large": audit(large, false), "large file": audit(large, true)} {
			if got != want {
				t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
			}
		}
	}
}

// TestSpoolFull: a copy that cannot be kept is an error, and says what to do.
func TestSpoolFull(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "gone"))
	var out, errs bytes.Buffer
	in := service("a") + "---\n# " + strings.Repeat(strings.Repeat("x", 1000)+"\n# ", keepBytes/1000+1) + "\n"
	code := run(t.Context(), []string{"sixgate", "audit", "-"}, strings.NewReader(in), &out, &errs)
	if code != exitError || !strings.Contains(errs.String(), "sixgate: read <stdin>: keep a copy in ") || !strings.Contains(errs.String(), "no such file or directory; set TMPDIR to a folder with room\n") {
		t.Errorf("exit code %d, %q", code, errs.String())
	}
}

// TestBar: people on a terminal see how far it is, and what is piped has nothing of it. script(1) of util-linux makes a terminal.
func TestBar(t *testing.T) {
	script, err := exec.LookPath("script")
	if err != nil {
		t.Skip("script is not on PATH: apt-get install bsdutils")
	}
	program, err := exec.LookPath("sixgate") // testscript.Main has put the test binary there
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// Two documents that come a while after another, however fast the machine is.
	const feed = "mkfifo pipe && (cat in.yaml; sleep 2; cat in.yaml) > pipe & "
	if err := os.WriteFile(filepath.Join(dir, "in.yaml"), []byte("---\n"+service("a")), 0o644); err != nil {
		t.Fatal(err)
	}
	bar := func(line string) string {
		if err := os.RemoveAll(filepath.Join(dir, "pipe")); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), script, "-qec", feed+"while ! test -p pipe; do sleep 0.01; done; "+line, os.DevNull)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader("")
		cmd.Env = append(os.Environ(), "TERM=xterm", "SHELL=/bin/sh")
		out, err := cmd.Output()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitFindings {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if out := bar(program + " audit pipe > out"); !strings.Contains(out, "reading") {
		t.Errorf("no bar: %q", out)
	}
	if out, err := os.ReadFile(filepath.Join(dir, "out")); err != nil || !strings.Contains(string(out), "2 objects in 1 file audited") || strings.Contains(string(out), "reading") {
		t.Errorf("%s %v", out, err)
	}
	if out := bar(program + " audit pipe 2> errors"); strings.Contains(out, "reading") {
		t.Errorf("a bar where standard error is a file: %q", out)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "errors")); err != nil || len(data) > 0 {
		t.Errorf("%q %v", data, err)
	}
}

// TestPipeInterrupted: a pipe that nobody writes to does not hold up the end of the program.
func TestPipeInterrupted(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if out, err := exec.Command("mkfifo", pipe).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := exec.LookPath("sixgate") // testscript.Main has put the test binary there
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, "audit", pipe)
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for { // opens as soon as somebody waits for a writer
		w, err := os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			defer w.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-done:
		if code := cmd.ProcessState.ExitCode(); code != exitError || errs.String() != "sixgate: interrupted\n" {
			t.Errorf("exit code %d, %q", code, errs.String())
		}
	case <-time.After(time.Until(deadline)):
		t.Fatal("still waiting")
	}
}
