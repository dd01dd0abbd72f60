package listen

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLarge: no case, made long in many ways, crashes a reader.
func TestLarge(t *testing.T) { readLarge(1<<13, 100) }

// BenchmarkLarge is the same with texts as long as a cluster can store. It logs what takes longest.
func BenchmarkLarge(b *testing.B) {
	for b.Loop() {
		slow := readLarge(1<<20, 100000)
		for _, s := range slow[:min(len(slow), 40)] {
			b.Log(s.took.Round(time.Millisecond), s.name)
		}
		b.ReportMetric(float64(slow[0].took.Milliseconds()), "ms/longest")
	}
}

type timed struct {
	name string
	took time.Duration
}

// readLarge reads what is made of a case of each kind: files of size bytes, or half as many, and so many arguments.
func readLarge(size, arguments int) []timed {
	var slow []timed
	measure := func(name string, read func()) {
		took := time.Hour
		for range 3 { // the shortest of three, since the machine has other work
			start := time.Now()
			read()
			if took = min(took, time.Since(start)); took < 200*time.Millisecond {
				break
			}
		}
		slow = append(slow, timed{name, took})
	}
	for _, p := range Programs() {
		if p.Cases == nil {
			continue
		}
		seen := map[string]bool{}
		for _, c := range p.Cases() {
			if c.File != "" && !seen[c.File] {
				seen[c.File] = true
				for name, text := range largeFiles(c.Config, size) {
					measure(p.Name+" "+c.File+" "+name, func() { ReadFiles([]File{{c.File, text}}) })
				}
			}
			if c.File == "" && !seen[""] { // one command line
				seen[""] = true
				for name, process := range largeProcesses(c, size, arguments) {
					measure(p.Name+" "+oneLine(c.Config)+" "+name, func() { ReadProcess(process) })
				}
			}
		}
	}
	slices.SortFunc(slow, func(a, b timed) int { return cmp.Compare(b.took, a.took) })
	return slow
}

// largeFiles are long texts made of a configuration.
func largeFiles(config string, most int) map[string]string {
	half := most / 2 // longer ones are nginx's only
	out := map[string]string{}
	fill := func(name, head, part string, size int) {
		if part != "" {
			out[name] = head + strings.Repeat(part, max(size-len(head), 0)/len(part))
		}
	}
	for _, size := range []int{half, most} {
		at := fmt.Sprint(" to ", size>>10, " KB")
		fill("repeated"+at, "", config, size)
		fill("in one line"+at, "", strings.ReplaceAll(config, "\n", " "), size)
		fill("without blanks"+at, config, strings.Join(strings.Fields(config), ""), size)
	}
	lines := strings.SplitAfter(config, "\n")
	fill("last lines", config, strings.Join(lines[max(0, len(lines)-3):], ""), half)
	fill("first line", lines[0], strings.TrimSpace(lines[0]), half)
	for _, tail := range []string{"[", "{", "(", "\"", "'", "\"a", "'a ", "a: ", "- ", "a:\n ", "<a>", "<!--", "#", "# a\n", "\\\n", "\\", "a=b\n", "a b;\n", "a {", "&a [*a]\n", "${", "\r", "\x00", "é", "=", ",", "0.0.0.0,", "a\n", "\n", "\"\n", "<<E\n", "/*", "%"} {
		fill(fmt.Sprintf("then %q", tail), config, tail, half)
		if i := strings.LastIndexAny(config, "0123456789"); i >= 0 {
			out[fmt.Sprintf("before a digit %q", tail)] = config[:i] + strings.Repeat(tail, max(half-len(config), 0)/len(tail)) + config[i:]
		}
	}
	var numbered strings.Builder
	for i := 0; numbered.Len()+2*len(config) < half; i++ {
		numbered.WriteString(strings.NewReplacer("0", fmt.Sprint(i%250), "e", fmt.Sprint("e", i)).Replace(config))
		numbered.WriteByte('\n')
	}
	out["numbered"] = config + "\n" + numbered.String()
	return out
}

// largeProcesses are long command lines, scripts and environments made of one.
func largeProcesses(c Case, size, arguments int) map[string]Process {
	base, _ := c.process()
	out := map[string]Process{}
	add := func(name string, more func(p *Process)) {
		p := base
		p.Command, p.Env = slices.Clone(base.Command), slices.Clone(base.Env)
		more(&p)
		out[name] = p
	}
	repeat := func(n int, files []File) []File {
		var all []File
		for i := 0; i < n && len(files) > 0; i++ {
			f := files[i%len(files)]
			all = append(all, File{fmt.Sprint("argument ", i), f.Text})
		}
		return all
	}
	add("arguments repeated", func(p *Process) {
		p.Command = append(p.Command, repeat(arguments, base.Command[min(1, len(base.Command)):])...)
	})
	add("arguments of a server", func(p *Process) {
		p.Command = append(p.Command, repeat(arguments, []File{{"", "--host"}, {"", "0.0.0.0"}, {"", "-b"}, {"", "0.0.0.0:80"}, {"", "--listen=0.0.0.0:80"}, {"", "--bind"}})...)
	})
	add("a long argument", func(p *Process) {
		for _, f := range base.Command[min(1, len(base.Command)):] {
			p.Command = append(p.Command, File{"long", strings.Repeat(f.Text+",", size/4/(len(f.Text)+1))})
		}
	})
	add("variables repeated", func(p *Process) {
		for i := range arguments / 5 {
			p.Env = append(p.Env, base.Env...)
			p.Env = append(p.Env, Variable{fmt.Sprint("V", i), File{fmt.Sprint("v", i), "0.0.0.0"}, true})
		}
	})
	add("a long variable", func(p *Process) {
		for i, v := range base.Env {
			p.Env[i].Value.Text = strings.Repeat(v.Value.Text+",", size/(len(v.Value.Text)+1))
		}
	})
	for name, size := range map[string]int{"a script": min(maxScript, size), "a long script": size} {
		for joint, text := range map[string]string{"lines": c.Config + "\n", "export": "export " + strings.SplitN(c.Config, " ", 2)[0] + "\nA=b\n", "pipes": c.Config + " | "} {
			script := strings.Repeat(text, max(size-len(c.Config), 0)/len(text)) + c.Config
			add(name+" of "+joint, func(p *Process) { p.Command = []File{{"", "sh"}, {"", "-c"}, {"script", script}} })
		}
	}
	return out
}
