package listen

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite what testdata/nginx expects")

// describe is one line for one listener, with all that is known about it.
func describe(l Listener) string {
	s := fmt.Sprintf("%s:%d:%d: %q %s", l.File, l.Line, l.Column, l.Text, l.Family)
	if l.Port != "" {
		s += " " + l.Port
	}
	if l.UDP {
		s += "/udp"
	}
	if l.Fault != None {
		s += "; " + l.Fault.String() + ": " + l.Reason
	}
	if l.Advice != "" {
		s += "; " + l.Advice
	}
	if l.Fault != None && !l.Fixable() {
		s += " (by hand)"
	}
	if l.Doubt != "" {
		s += "; doubt: " + l.Doubt
	}
	return s
}

// Each archive in testdata/nginx holds the files of one folder, then "want" (the listeners) and "repaired/NAME" (each
// file that Repair changes).
func TestNginx(t *testing.T) {
	archives, err := filepath.Glob("testdata/nginx/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no testdata:", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var files []File
			got := &txtar.Archive{Comment: archive.Comment}
			for _, f := range archive.Files {
				if f.Name == "want" || strings.HasPrefix(f.Name, "repaired/") {
					continue
				}
				got.Files = append(got.Files, f)
				files = append(files, File{f.Name, string(f.Data)})
			}
			listeners := Nginx(files)
			var want strings.Builder
			for _, l := range listeners {
				fmt.Fprintln(&want, describe(l))
			}
			got.Files = append(got.Files, txtar.File{Name: "want", Data: []byte(want.String())})
			for _, f := range files {
				repaired := Repair(f, listeners)
				if repaired != f.Text {
					got.Files = append(got.Files, txtar.File{Name: "repaired/" + f.Name, Data: []byte(repaired)})
				}
			}
			check(t, files)
			text := txtar.Format(got)
			if *update {
				if err := os.WriteFile(name, text, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if string(text) != string(txtar.Format(archive)) {
				t.Errorf("got:\n%s\nrun go test -run TestNginx -update if this is right", text)
			}
		})
	}
}

// check holds the laws of every input.
func check(t *testing.T, files []File) {
	t.Helper()
	listeners := Nginx(files)
	var repaired []File
	lines := map[string][]string{}
	for _, f := range files {
		lines[f.Name] = strings.Split(f.Text, "\n")
		repaired = append(repaired, File{f.Name, Repair(f, listeners)})
	}
	for _, l := range listeners {
		if (l.Fault == None) != (l.Reason == "") || l.Fixable() && l.Fault != IPv4Only {
			t.Errorf("fault, reason and fix disagree: %s", describe(l))
		}
		if strings.ContainsAny(l.Text+l.Advice+l.Reason+l.Doubt, "\n\r") {
			t.Errorf("more than one line: %s", describe(l))
		}
		if in := lines[l.File]; l.Line < 1 || l.Line > len(in) || l.Column < 1 || l.Column > len(in[l.Line-1]) {
			t.Errorf("no such place: %s", describe(l))
		}
	}
	after := Nginx(repaired)
	if len(after) < len(listeners) {
		t.Errorf("repaired files have %d listeners, had %d", len(after), len(listeners))
	}
	for _, l := range after {
		if l.Fixable() {
			t.Errorf("not repaired: %s", describe(l))
		}
	}
}

// CRLF cannot be kept in an archive that people edit.
func TestRepairKeepsLineEndings(t *testing.T) {
	f := File{"a.conf", "server {\r\n\tlisten 80; # web\r\n\tserver_name a;\r\n}\r\n"}
	want := "server {\r\n\tlisten 80; # web\r\n\tlisten [::]:80;\r\n\tserver_name a;\r\n}\r\n"
	if got := Repair(f, Nginx([]File{f})); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	check(t, []File{f})
}

// What is not nginx configuration, or not unmistakably.
func TestNginxRefuses(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/not-nginx.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) < 20 {
		t.Fatalf("%d files", len(archive.Files))
	}
	for _, f := range archive.Files {
		for _, l := range Nginx([]File{{f.Name, string(f.Data)}}) {
			t.Errorf("%s", describe(l))
		}
	}
}

// hostile is input that broke a parser: crossplane alone takes minutes for most of it, or dies.
func hostile() map[string]string {
	const mb = 1 << 20
	server := "server { listen 80; }\n"
	var ports strings.Builder
	for port := 2000; port > 0; port-- {
		fmt.Fprintf(&ports, "listen [::]:%d;", port)
	}
	return map[string]string{
		"deep":      server + strings.Repeat("a{", mb/2),
		"closed":    server + strings.Repeat("a{", mb/4) + strings.Repeat("}", mb/4),
		"word":      server + strings.Repeat("a", mb) + " b;",
		"quote":     server + "x \"\n" + strings.Repeat("a", mb) + "\";",
		"unclosed":  server + "x '" + strings.Repeat("a", mb),
		"lua":       server + "set_by_lua_block " + strings.Repeat("a", mb) + " {x}",
		"lua open":  server + "content_by_lua_block {" + strings.Repeat("[", mb),
		"lua bars":  server + "content_by_lua_block {" + strings.Repeat("[=", mb/2) + "}",
		"nul":       "server { listen 80\x00; }",
		"utf-8":     "server { listen \xff80; \xfe }",
		"listens":   "server {" + strings.Repeat("listen 80;", mb/10) + "}",
		"servers":   strings.Repeat("server{root x;}", mb/15),
		"includes":  "server {" + strings.Repeat("include *;", mb/10) + "}",
		"directive": server + strings.Repeat("a_ b;", mb/5),
		"early end": "server { listen 80; } }" + strings.Repeat("a b;\n", 5000),
		"no server": strings.Repeat("server ", mb/7),
		// Once compared word by word for each pair.
		"long listens":  "server {" + strings.Repeat("listen [::]:80"+strings.Repeat(" a", 110)+";", 4090) + "}",
		"longest":       "server {" + strings.Repeat("listen [::]:80"+strings.Repeat(" a", 255)+";", 2000) + "}",
		"long conflict": "server { listen [::]:80 ipv6only=off" + strings.Repeat(" a", 400_000) + ";" + strings.Repeat("listen 80;", 4000) + "}",
		"conflicts":     "server { listen [::]:80 ipv6only=off" + strings.Repeat(" a", 250) + ";" + strings.Repeat("listen 80;", 4000) + "}",
		"reuseport":     "server { listen [::]:80 ipv6only=off reuseport;" + strings.Repeat("listen 80;", 4000) + "}",
		"long name":     "server { listen 80; server_name" + strings.Repeat(" a", mb/2) + "; }",
		"ranges":        "server {" + strings.Repeat("listen 1-2000;", 2000) + ports.String() + "}",
		"comments":      server + strings.Repeat("#\n", mb/2),
	}
}

// A file with a listen longer than any real one has no answer at all.
func TestNginxLimits(t *testing.T) {
	for _, c := range []struct {
		params string
		want   int
	}{{strings.Repeat(" a", 254), 2}, {strings.Repeat(" a", 255), 0}, {" " + strings.Repeat("a", 1024), 0}} {
		text := "server { listen 80" + c.params + "; listen 81; }"
		if got := Nginx([]File{{"a.conf", text}}); len(got) != c.want {
			t.Errorf("%d bytes: %d listeners, want %d", len(text), len(got), c.want)
		}
	}
}

func TestNginxSurvives(t *testing.T) {
	before := runtime.NumGoroutine()
	for name, text := range hostile() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			check(t, []File{{"a", text}, {"b", "listen 80; include a;"}})
		}()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatalf("%s: still busy after a minute", name)
		}
	}
	many := []File{{"a", "server {" + strings.Repeat("include *;", 1000) + "}"}}
	for i := range 1000 {
		many = append(many, File{fmt.Sprint("f", i), strings.Repeat("include *;", 100) + "listen 80;"})
	}
	check(t, many)
	// A goroutine of crossplane that nobody reads from would stay for good.
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, had %d", runtime.NumGoroutine(), before)
		}
	}
}

func FuzzNginx(f *testing.F) {
	archives, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range append(archives, "testdata/not-nginx.txtar") {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			f.Add(string(file.Data), "listen 80;")
		}
	}
	f.Fuzz(func(t *testing.T, text, snippet string) {
		before := runtime.NumGoroutine()
		check(t, []File{{"a.conf", text}, {"b.conf", snippet}})
		for i := 0; runtime.NumGoroutine() > before; i++ {
			if i > 10000 {
				t.Fatal("a goroutine is left")
			}
			time.Sleep(time.Millisecond)
		}
	})
}

const small = `server {
    listen 80;
    server_name example.com;
    location / {
        proxy_pass http://backend;
    }
}
`

func BenchmarkNginx(b *testing.B) {
	medium := "http {\n" + strings.Repeat(small, 100) + "}\n"
	for _, c := range []struct{ name, text string }{{"small", small}, {"medium", medium}} {
		b.Run(c.name, func(b *testing.B) {
			files := []File{{"default.conf", c.text}}
			b.SetBytes(int64(len(c.text)))
			b.ReportAllocs()
			for b.Loop() {
				if len(Nginx(files)) == 0 {
					b.Fatal("no listeners")
				}
			}
		})
	}
}

func BenchmarkNginxUnrelated1MB(b *testing.B) {
	line := "apiServer: {enabled: true, server: https://kubernetes.default.svc:443}\n"
	files := []File{{"values.yaml", strings.Repeat(line, 1<<20/len(line))}}
	b.SetBytes(int64(len(files[0].Text)))
	b.ReportAllocs()
	for b.Loop() {
		if len(Nginx(files)) > 0 {
			b.Fatal("listeners")
		}
	}
}
