package listen

import (
	"path"
	"strings"
	"sync"
)

// A Program is a kind of server whose configuration this package reads.
type Program struct {
	Name string // as its makers write it: "nginx"
	Rule string // the family of programs that is levelled and explained as one: "listen-nginx"
	Ran  string // the version that was run to learn what it binds; "" if Source is the only evidence
	// Source is where else the answer comes from: documentation or source code; "" if every form was run.
	Source string
	// Keys are patterns of file names (path.Match, lower case); a file is looked at only if one matches. Gist are words; where
	// there are any, a file is looked at only if it has one of them. Both only save time: Files decides.
	Keys, Gist []string
	// Files returns the listeners in files that are unmistakably this program's, else none.
	Files func([]File) []Listener
	// Names are the program's executables, Images the last path elements of its images' names. Run is asked about each
	// command of a Process that has one of them.
	Names, Images []string
	// Any: Run is asked about every command, because a variable or argument alone tells what is meant.
	Any bool
	Run func(*Command) []Listener
	// Cases are forms of configuration with what the program then binds: they are the tests and the documentation of the row.
	Cases func() []Case
}

// A Case is one form of configuration and what the program does with it in a pod that has an IPv6 address and 127.0.0.1.
type Case struct {
	File   string // name of the configuration file; "" for a command line
	Config string // its text; or the command line, with NAME=value words for the environment in front
	Image  string // the image in which the command line runs; "" if it does not matter
	Port   string // the port that is asked about
	Binds  Family // who reaches it: IPv4, IPv6 or Dual; Loopback, Unix; Unknown if the program exits
	NoFix  bool   // IPv4 with no one right answer
	// Doubt: the configuration alone does not prove the answer, so nothing is refused.
	Doubt bool
	// NotRun: the case is not run by e2e/listen, for this reason, so Program.Source is its evidence.
	NotRun string
}

// Programs returns the programs that are known. The caller must not change them.
func Programs() []Program { return table() }

var table = sync.OnceValue(rows)

// maxFiles is how many files of a folder are read; a ConfigMap with more keys holds no configuration of a server.
const maxFiles = 1000

// ReadFiles returns the listeners that are configured in the files of one folder or ConfigMap, by program.
func ReadFiles(files []File) []Listener {
	if len(files) > maxFiles {
		return nil
	}
	var out []Listener
	for _, f := range files {
		if isShellScript(f) {
			out = append(out, readScript(f)...)
		}
	}
	for _, p := range Programs() {
		if p.Files == nil {
			continue
		}
		if some := p.candidates(files); len(some) > 0 {
			out = append(out, named(p, p.Files(some))...)
		}
	}
	return out
}

func named(p Program, listeners []Listener) []Listener {
	for i := range listeners {
		listeners[i].Program = p.Name
	}
	return listeners
}

// candidates are the files that the program may read. nginx resolves includes, so it gets the folder if any file is one.
func (p Program) candidates(files []File) []File {
	var some []File
	for _, f := range files {
		if p.mayRead(f) {
			some = append(some, f)
		}
	}
	if len(some) > 0 && p.Name == "nginx" {
		return files
	}
	return some
}

func (p Program) mayRead(f File) bool {
	name := strings.ToLower(f.Name)
	match := len(p.Keys) == 0
	for _, k := range p.Keys {
		ok, _ := path.Match(k, name)
		match = match || ok
	}
	if !match || len(p.Gist) == 0 {
		return match
	}
	for _, g := range p.Gist {
		if strings.Contains(f.Text, g) {
			return true
		}
	}
	return false
}

// Candidates are the programs that a file was read for, by its name and words.
func Candidates(f File) []string {
	var out []string
	for _, p := range Programs() {
		if p.Files != nil && p.mayRead(f) {
			out = append(out, p.Name)
		}
	}
	return out
}

// each makes a Program's Files of a function that reads one file.
func each(read func(File) []Listener) func([]File) []Listener {
	return func(files []File) []Listener {
		var out []Listener
		for _, f := range files {
			out = append(out, read(f)...)
		}
		return out
	}
}
