package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

var update = flag.Bool("update", false, "rewrite the expected output of the scripts and of docs/audit-json.md")

func TestMain(m *testing.M) {
	sixgate := func() { os.Exit(withoutLeak(command)) }
	programs := map[string]func(){"sixgate": sixgate, "kubectl-sixgate": sixgate}
	for _, day := range []string{"2027-03-01", "2027-03-02"} { // sixgate on that day, for exceptions that end
		programs["sixgate-"+day] = func() {
			now, err := time.Parse(time.DateOnly, day)
			if err != nil {
				panic(err)
			}
			os.Exit(withoutLeak(func() int {
				return runAt(context.Background(), func() time.Time { return now }, os.Args, os.Stdin, os.Stdout, os.Stderr)
			}))
		}
	}
	testscript.Main(aroundTests(m), programs)
}

// withoutLeak is a program that fails if it leaves goroutines behind: all scripts are run with it. One that is interrupted may leave what waits for
// standard input.
func withoutLeak(command func() int) int {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM) // package signal keeps a goroutine from the first time on
	before := runtime.NumGoroutine()
	code := command()
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before && len(interrupted) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			fmt.Fprintf(os.Stderr, "%d goroutines, %d before:\n%s\n", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
			return 99
		}
	}
	return code
}

func TestScripts(t *testing.T) {
	for _, program := range []string{"helm", "kubectl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Logf("%s is not on PATH: what charts.txtar renders with it is not tested", program)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Cmds:          map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "hostile": writeHostile},
		Setup: func(e *testscript.Env) error {
			e.Setenv("NO_COLOR", "")
			e.Setenv("TERM", "xterm")
			program, err := exec.LookPath("sixgate") // for stories without PATH
			e.Setenv("SIXGATE", program)
			return err
		},
	})
}

// exits runs a command and compares its exit code: exits CODE COMMAND ARG...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG...")
	}
	err, code := ts.Exec(args[1], args[2:]...), 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// TestExplain: every rule has its page.
func TestExplain(t *testing.T) {
	for _, r := range rules.All() {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"sixgate", "explain", r.ID}, nil, &out, &errs); code != 0 {
			t.Fatalf("exit code %d: %s", code, errs.String())
		}
		if !strings.Contains(out.String(), strings.TrimSpace(rules.Doc(r.ID))) || !strings.Contains(out.String(), r.Title) {
			t.Errorf("%s: no page:\n%s", r.ID, out.String())
		}
	}
}

const goodService = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ipFamilies: [IPv4]}\n"

// TestBrokenPipe: a reader that has seen enough is no error, and the exit code is that of the findings.
func TestBrokenPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	var errs bytes.Buffer
	code := run(t.Context(), []string{"sixgate", "audit", "-"}, strings.NewReader(goodService), w, &errs)
	if code != exitFindings || errs.Len() > 0 {
		t.Errorf("exit code %d, %q", code, errs.String())
	}
}

// TestClosedPipe is TestBrokenPipe for standard output of a process, where SIGPIPE comes too.
func TestClosedPipe(t *testing.T) {
	program, err := exec.LookPath("sixgate") // testscript.Main has put the test binary there
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	var errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, "audit", "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(goodService), w, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != exitFindings || errs.Len() > 0 {
		t.Errorf("%v, %q", err, errs.String())
	}
}

// TestTargetPort: a headless Service whose named target port other objects of the input resolve, and labels no API server takes.
func TestTargetPort(t *testing.T) {
	const policy = "apiVersion: sixgate.io/v1alpha1\nkind: Policy\nservices: {mode: Headless}\n"
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	service := func(selector string) string {
		return "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: " + selector + ", ports: [{port: 80, targetPort: http}]}\n"
	}
	pod := func(namespace, labels, port string) string {
		return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: " + namespace + ", labels: " + labels + "}\n" +
			"spec: {containers: [{name: a, image: a, ports: [{name: http, containerPort: " + port + "}]}]}\n"
	}
	const known = "port 80 leads to 8080"
	for _, tt := range []struct {
		name, in string
		known    bool
	}{
		{"one label of two", service("{app: a}") + pod("default", "{app: a, tier: b}", "8080"), true},
		{"both labels", service("{app: a, tier: b}") + pod("default", "{app: a, tier: b}", "8080") + pod("default", "{app: a, tier: c}", "81"), true},
		{"they differ", service("{app: a}") + pod("default", "{app: a}", "8080") + pod("default", "{app: a}", "81"), false},
		{"another namespace", service("{app: a}") + pod("b", "{app: a}", "8080"), false},
		{"another value", service("{app: b}") + pod("default", "{app: a}", "8080"), false},
		{"another label", service("{app: a, tier: b}") + pod("default", "{app: a}", "8080"), false},
		{"empty value", service("{app: ''}") + pod("default", "{app: ''}", "8080"), true},
		{"a map", service("{app: {b: c}}") + pod("default", "{app: {b: c}}", "8080"), false},
		{"empty key", service("{'': a}") + pod("default", "{'': a}", "8080"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			run(t.Context(), []string{"sixgate", "audit", "--policy", file, "-"}, strings.NewReader(tt.in), &out, &errs)
			if strings.Contains(out.String(), known) != tt.known || errs.Len() > 0 {
				t.Errorf("%s%s", out.String(), errs.String())
			}
		})
	}
}

type badWriter struct{}

func (badWriter) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestFullDisk(t *testing.T) {
	for _, format := range report.Formats() {
		var errs bytes.Buffer
		code := run(t.Context(), []string{"sixgate", "audit", "-o", format, "-"}, strings.NewReader(goodService), badWriter{}, &errs)
		if want := "sixgate: write report: no space left on device\n"; code != exitError || errs.String() != want {
			t.Errorf("%s: exit code %d, %q", format, code, errs.String())
		}
	}
}

// TestInterrupt: standard input that never ends does not hold up the end of the program.
func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, w := io.Pipe()
	defer w.Close()
	done := make(chan int)
	var out, errs bytes.Buffer
	go func() { done <- run(ctx, []string{"sixgate", "audit", "-"}, r, &out, &errs) }()
	select {
	case code := <-done:
		if code != exitError || errs.String() != "sixgate: interrupted\n" {
			t.Errorf("exit code %d, %q", code, errs.String())
		}
	case <-time.After(time.Minute):
		t.Fatal("still reading")
	}
}

// ruleCases writes the objects of the rules' own test cases into a folder and returns it with their size.
func ruleCases(tb testing.TB) (dir string, size int64) {
	tb.Helper()
	files, err := filepath.Glob("../../pkg/rules/testdata/*/*.txtar")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no cases: %v", err)
	}
	dir = tb.TempDir()
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		for _, f := range a.Files {
			if f.Name != "in.yaml" {
				continue
			}
			name := filepath.Base(filepath.Dir(file)) + "-" + filepath.Base(file) + ".yaml"
			if err := os.WriteFile(filepath.Join(dir, name), f.Data, 0o644); err != nil {
				tb.Fatal(err)
			}
			size += int64(len(f.Data))
		}
	}
	return dir, size
}

// TestSummary: what the summary counts is what the report lists, on every object that the rules are tested with; and the
// report is the same each time.
func TestSummary(t *testing.T) {
	dir, _ := ruleCases(t)
	var first []byte
	for range 3 {
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"sixgate", "audit", "-o", "json", dir}, nil, &out, &errs)
		if first == nil {
			first = out.Bytes()
		}
		if !bytes.Equal(first, out.Bytes()) {
			t.Fatal("two runs differ")
		}
		if bytes.Contains(out.Bytes(), []byte("null,")) || bytes.Contains(out.Bytes(), []byte("null\n")) {
			t.Error("a null in the report")
		}
		var r report.Report
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		s := r.Summary
		if s.ExitCode != code || code != exitFindings || errs.Len() > 0 {
			t.Errorf("exit code %d, in the report %d: %s", code, s.ExitCode, errs.String())
		}
		byRule := 0
		for _, n := range s.ByRule {
			byRule += n
		}
		for name, pair := range map[string][2]int{
			"audited":  {s.Audited, s.Denied + s.Changed + s.Warned + s.Clean},
			"objects":  {s.Audited, len(r.Objects)},
			"findings": {s.Findings, len(r.Findings)},
			"byRule":   {s.Findings, byRule},
			"byLevel":  {s.Findings, s.ByLevel["deny"] + s.ByLevel["warn"]},
			"skipped":  {s.Skipped, len(r.Skipped)},
		} {
			if pair[0] != pair[1] || pair[0] == 0 {
				t.Errorf("%s: %d and %d", name, pair[0], pair[1])
			}
		}
	}
}

var fence = regexp.MustCompile("(?s)```(yaml|json)\n(.*?)```")

// TestDocumentedJSON holds docs/audit-json.md to what the program writes: its example, and that it names every field.
func TestDocumentedJSON(t *testing.T) {
	page, err := filepath.Abs("../../docs/audit-json.md")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	blocks := fence.FindAllSubmatchIndex(doc, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d code blocks in %s, want the input and the output", len(blocks), page)
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("shop.yaml", doc[blocks[0][4]:blocks[0][5]], 0o644); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	run(t.Context(), []string{"sixgate", "audit", "-o", "json", "shop.yaml"}, nil, &out, &errs)
	if errs.Len() > 0 {
		t.Fatal(errs.String())
	}
	start, end := blocks[1][4], blocks[1][5]
	if *update {
		if err := os.WriteFile(page, slices.Concat(doc[:start], out.Bytes(), doc[end:]), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got := out.Bytes(); !bytes.Equal(got, doc[start:end]) {
		t.Errorf("the example is out of date, run with -update:\n%s", got)
	}
	fields(reflect.TypeFor[report.Report](), func(name string) {
		if !bytes.Contains(doc, []byte("`"+name+"`")) {
			t.Errorf("field %q is not documented", name)
		}
	})
}

// fields calls visit with the JSON name of each field of a type and of what it holds.
func fields(t reflect.Type, visit func(string)) {
	switch t.Kind() {
	case reflect.Slice:
		fields(t.Elem(), visit)
	case reflect.Struct:
		for f := range t.Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				visit(name)
			}
			if f.IsExported() {
				fields(f.Type, visit)
			}
		}
	}
}

func BenchmarkAudit(b *testing.B) {
	dir, size := ruleCases(b)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if code := run(b.Context(), []string{"sixgate", "audit", "-o", "json", dir}, nil, io.Discard, io.Discard); code != exitFindings {
			b.Fatalf("exit code %d", code)
		}
	}
}
