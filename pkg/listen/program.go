package listen

import (
	"cmp"
	"path"
	"slices"
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
	// Folder: Files gets the whole folder if one of its files is looked at.
	Folder bool
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
func Programs() []Program { return table().programs }

// An index finds programs, which are numbers of the table, without asking each of them. It is made once and never changed.
type index struct {
	programs []Program
	keys     []key            // each pattern of file names once
	unkeyed  []int            // programs with Files that look at every name
	names    map[string][]int // by executable
	images   map[string][]int // by image
	any      []int            // programs that are asked about every command
}

// A key is a pattern of file names with the programs that have it.
type key struct {
	pattern, literal string // literal is the longest part without wildcards
	programs         []int
}

// table makes the index at its first use. It is no initialised variable, because readers ask it too.
func table() *index {
	made.Do(func() { made.index = newIndex() })
	return made.index
}

var made struct {
	sync.Once
	*index
}

func newIndex() *index {
	x := &index{programs: rows(), names: map[string][]int{}, images: map[string][]int{}}
	for i, p := range x.programs {
		if p.Files != nil && len(p.Keys) == 0 {
			x.unkeyed = append(x.unkeyed, i)
		}
		for _, pattern := range p.Keys {
			at := slices.IndexFunc(x.keys, func(k key) bool { return k.pattern == pattern })
			if at < 0 {
				at = len(x.keys)
				literal := slices.MaxFunc(strings.FieldsFunc(pattern, func(r rune) bool { return strings.ContainsRune(`*?[]\`, r) }),
					func(a, b string) int { return cmp.Compare(len(a), len(b)) })
				x.keys = append(x.keys, key{pattern: pattern, literal: literal})
			}
			x.keys[at].programs = append(x.keys[at].programs, i)
		}
		for _, n := range p.Names {
			x.names[n] = append(x.names[n], i)
		}
		for _, n := range p.Images {
			x.images[n] = append(x.images[n], i)
		}
		if p.Any {
			x.any = append(x.any, i)
		}
	}
	return x
}

// Limits that no configuration written by people reaches; beyond them there is no answer, so that an answer never takes long.
const (
	maxFiles = 1000    // of a folder
	maxText  = 1 << 19 // bytes of a file, except nginx's: the longest that is shipped is Squid's, a third of a megabyte with its comments
	maxRead  = 1 << 21 // bytes that are read of a folder, counted again for every program that reads them
)

// ReadFiles returns the listeners that are configured in the files of one folder or ConfigMap, by program.
func ReadFiles(files []File) []Listener {
	if len(files) > maxFiles {
		return nil
	}
	x := table()
	var out []Listener
	type read struct{ program, file int }
	var reads []read
	var buffer [32]int
	for i, f := range files {
		if isShellScript(f) {
			out = append(out, readScript(f)...)
		}
		for _, p := range x.readers(f, buffer[:0]) {
			reads = append(reads, read{p, i})
		}
	}
	slices.SortStableFunc(reads, func(a, b read) int { return cmp.Compare(a.program, b.program) })
	left := maxRead
	var claimed map[string]bool // files with an nginx server: nobody else's
	for len(reads) > 0 {
		p := x.programs[reads[0].program]
		var some []File
		first := reads[0].program
		for ; len(reads) > 0 && reads[0].program == first; reads = reads[1:] {
			f := files[reads[0].file]
			if claimed[f.Name] {
				continue
			}
			if p.Name != nginxProgram {
				if left -= len(f.Text); left < 0 {
					return out
				}
			}
			some = append(some, f)
		}
		if len(some) == 0 {
			continue
		}
		if p.Folder {
			some = files
		}
		found := named(p, doubtFiles(p, files, p.Files(some)))
		out = append(out, found...)
		if p.Name == nginxProgram {
			claimed = map[string]bool{}
			for _, l := range found {
				claimed[l.File] = true
			}
		}
	}
	return out
}

const nginxProgram = "nginx"

// named completes what a program's reader found: whatever it quotes, a message is one line.
func named(p Program, listeners []Listener) []Listener {
	for i := range listeners {
		l := &listeners[i]
		l.Program, l.Text, l.Advice, l.Doubt = p.Name, oneLine(l.Text), oneLine(l.Advice), oneLine(l.Doubt)
	}
	return listeners
}

// readers appends the programs that may read a file, by its name and words, to some, which is empty, and returns them in order.
func (x *index) readers(f File, some []int) []int {
	some = append(some, x.unkeyed...)
	name := strings.ToLower(f.Name)
	var in pairs
	in.add(name)
	for _, k := range x.keys {
		if in.mayHave(k.literal) && strings.Contains(name, k.literal) {
			if ok, _ := path.Match(k.pattern, name); ok {
				some = append(some, k.programs...)
			}
		}
	}
	slices.Sort(some)
	var p pairs
	if len(f.Text) <= maxText {
		p.add(f.Text)
	}
	return slices.DeleteFunc(slices.Compact(some), func(i int) bool { return !x.programs[i].mayRead(f.Text, &p) })
}

func (p *Program) mayRead(text string, in *pairs) bool {
	if len(text) > maxText {
		return p.Name == nginxProgram && strings.Contains(text, p.Gist[0])
	}
	return len(p.Gist) == 0 || slices.ContainsFunc(p.Gist, func(g string) bool { return in.mayHave(g) && strings.Contains(text, g) })
}

// pairs are the pairs of neighbouring bytes in a text: most words of most programs have one that a text lacks.
type pairs [1 << 12 / 64]uint64

func pair(a, b byte) (int, uint64) {
	h := uint(a)*67 + uint(b)
	return int(h >> 6 % (1 << 12 / 64)), 1 << (h % 64)
}

func (p *pairs) add(text string) {
	for i := 1; i < len(text); i++ {
		n, bit := pair(text[i-1], text[i])
		p[n] |= bit
	}
}

func (p *pairs) mayHave(word string) bool {
	for i := 1; i < len(word); i++ {
		if n, bit := pair(word[i-1], word[i]); p[n]&bit == 0 {
			return false
		}
	}
	return true
}

// Candidates are the programs that a file was read for, by its name and words.
func Candidates(f File) []string {
	x := table()
	var out []string
	for _, i := range x.readers(f, nil) {
		out = append(out, x.programs[i].Name)
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
