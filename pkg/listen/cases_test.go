package listen

import (
	"strings"
	"testing"
)

// TestCases holds each row of the table to its cases, and each repair to what a repair promises.
func TestCases(t *testing.T) {
	for _, p := range Programs() {
		if p.Cases == nil {
			continue
		}
		for _, c := range p.Cases() {
			t.Run(p.Name+"/"+c.File+" "+oneLine(c.Config), func(t *testing.T) {
				all, files := c.Read()
				var mine []Listener
				for _, l := range all {
					switch {
					case l.Program == p.Name:
						mine = append(mine, l)
					case l.Fault != None:
						t.Errorf("read as %s too: %s", l.Program, describe(l))
					}
				}
				judged := Answer(mine, c.Port)
				if c.Binds != judged && !(judged == Unknown && c.Binds != IPv4) {
					t.Errorf("binds %s, want %s: %s", judged, c.Binds, describeAll(mine))
				}
				faulty, fixable, certain := false, true, false
				for _, l := range mine {
					if l.Fault != IPv4Only || l.Port != c.Port && l.Port != "" {
						continue
					}
					faulty = true
					fixable = fixable && l.Fixable()
					certain = certain || l.Certain()
					if l.Reason == "" || l.Advice == "" {
						t.Errorf("no reason or no advice: %s", describe(l))
					}
				}
				if faulty != (c.Binds == IPv4) {
					t.Errorf("fault %t, binds %s: %s", faulty, c.Binds, describeAll(mine))
				}
				if !faulty {
					return
				}
				if certain == c.Doubt {
					t.Errorf("certain: %t: %s", certain, describeAll(mine))
				}
				if fixable == c.NoFix {
					t.Errorf("fixable: %t: %s", fixable, describeAll(mine))
				}
				if !fixable {
					return
				}
				repaired := c.Repaired()
				after, _ := repaired.Read()
				for _, l := range after {
					if l.Program == p.Name && l.Fault != None && (l.Port == c.Port || l.Port == "") {
						t.Errorf("not repaired: %s\n%s", describe(l), repaired.Config)
					}
				}
				for _, f := range files {
					if f.Text == repaired.Config {
						t.Error("repair changed nothing")
					}
				}
			})
		}
	}
}

func describeAll(listeners []Listener) string {
	var out strings.Builder
	for _, l := range listeners {
		out.WriteString("\n\t" + describe(l))
	}
	return out.String()
}

// places holds every listener to a place that exists and to texts of one line.
func places(t *testing.T, listeners []Listener, files []File) {
	t.Helper()
	lines := map[string][]string{}
	for _, f := range files {
		lines[f.Name] = strings.Split(f.Text, "\n")
	}
	for _, l := range listeners {
		if in := lines[l.File]; l.Line < 1 || l.Line > len(in) || l.Column < 1 || l.Column > len(in[l.Line-1])+1 {
			t.Errorf("no such place: %s", describe(l))
		}
		if strings.ContainsAny(l.Text+l.Advice+l.Reason+l.Doubt, "\n\r") {
			t.Errorf("more than one line: %s", describe(l))
		}
		if (l.Fault == None) != (l.Reason == "") || l.Fixable() && l.Fault == None {
			t.Errorf("fault, reason and fix disagree: %s", describe(l))
		}
	}
}

// FuzzFiles: whatever a file holds, nothing crashes, every place exists, and a repaired text is not repaired again.
func FuzzFiles(f *testing.F) {
	for _, p := range Programs() {
		if p.Cases != nil {
			for _, c := range p.Cases() {
				if c.File != "" {
					f.Add(c.File, c.Config)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		files := []File{{name, text}}
		listeners := ReadFiles(files)
		places(t, listeners, files)
		repaired := File{name, Repair(files[0], listeners)}
		for _, l := range ReadFiles([]File{repaired}) {
			if l.Fixable() && Repair(repaired, []Listener{l}) == repaired.Text {
				t.Errorf("a repair without effect: %s", describe(l))
			}
		}
	})
}

// FuzzProcess: as FuzzFiles, for a command line, an image and one variable.
func FuzzProcess(f *testing.F) {
	for _, p := range Programs() {
		if p.Cases != nil {
			for _, c := range p.Cases() {
				if c.File == "" {
					f.Add("img:1", c.Config, "HOST=0.0.0.0")
					f.Add("img:1", "sh -c '"+c.Config+"'", "HOST=0.0.0.0")
				}
			}
		}
		for _, image := range p.Images {
			f.Add(image, "--bind 0.0.0.0", "BIND=0.0.0.0")
		}
	}
	f.Fuzz(func(t *testing.T, image, line, variable string) {
		p, files := Case{Config: line}.process()
		name, value, _ := strings.Cut(variable, "=")
		v := File{"variable", value}
		p.Image, p.Env, files = image, append(p.Env, Variable{name, v, true}), append(files, v, File{"", image})
		listeners := ReadProcess(p)
		places(t, listeners, files)
		for _, file := range files {
			Repair(file, listeners)
		}
	})
}
