package listen

import (
	"path"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"
)

// A Process is one container as it is started.
type Process struct {
	Image string // as written; "" if unknown
	// Command replaces the image's ENTRYPOINT, Args its CMD, as in a Kubernetes container. The Name of a word is the caller's.
	Command, Args []File
	Env           []Variable
}

// A Variable of the environment. The Name of its Value is the caller's.
type Variable struct {
	Name  string
	Value File
	Known bool // false if the value comes from elsewhere, as from a Secret
}

// A Command is one program with its arguments: the process itself, or a command of the shell script that it runs.
type Command struct {
	Program string   // base name of the executable, without wrappers such as exec, env, tini and python -m; "" if only the image knows
	Image   string   // last path element of the image's name, without tag; "" if unknown
	Exec    *Word    // the executable as it is written; the image's name, of a File without name, if only that is known
	Args    []*Word  // without the executable
	Env     []EnvVar // of the container, then assignments of the shell, so the last one counts
	Doubt   string   // why the command may not be run; "" if it certainly is
	rule    string   // of the program whose own the executable or image is; "" if that is not known
}

// An EnvVar is a variable that a Command sees.
type EnvVar struct {
	Name  string
	Known bool
	*Word // its value; nil if unknown
}

// A Word is an argument or value, and where it is written.
type Word struct {
	Text  string
	file  string
	base  string // the whole text that has the word
	parts []part // how Text is written
	shell bool
}

// A part is a run of Text that is written as it is.
type part struct {
	text, source, length int
	quote                byte // ' or ", or 0
}

func plainWord(f File) *Word {
	return &Word{Text: f.Text, file: f.Name, base: f.Text, parts: []part{{0, 0, len(f.Text), 0}}}
}

// plainWords returns plainWord for so many words, which are allocated at once.
func plainWords(n int) func(File) *Word {
	words, parts := make([]Word, n), make([]part, n)
	return func(f File) *Word {
		w, p := &words[0], parts[:1:1]
		words, parts = words[1:], parts[1:]
		p[0] = part{0, 0, len(f.Text), 0}
		*w = Word{Text: f.Text, file: f.Name, base: f.Text, parts: p}
		return w
	}
}

// ReadProcess returns the listeners of what a container runs.
func ReadProcess(p Process) []Listener {
	commands := p.commands()
	out, claimed := listeners(commands)
	return append(out, wildcards(commands, claimed)...)
}

// isShellScript reports whether a file is one for a POSIX shell.
func isShellScript(f File) bool {
	first, _, _ := strings.Cut(f.Text, "\n")
	if strings.HasPrefix(first, "#!") {
		return strings.Contains(first, "sh")
	}
	return strings.HasSuffix(f.Name, ".sh")
}

// readScript returns the listeners of the commands in a shell script. Nobody knows who runs it, so all are in doubt.
func readScript(f File) []Listener {
	if len(f.Text) > maxScript || !namesProgram(f.Text) {
		return nil
	}
	c := &Command{Doubt: "the script may not be run"}
	out, _ := listeners(c.script(plainWord(f)))
	return out
}

// namesProgram reports whether a text has the name of an executable: without one it is not worth parsing.
func namesProgram(text string) bool {
	start := 0
	for i := 0; i <= len(text); i++ {
		if i < len(text) && (isWordByte(text[i]) || text[i] == '.' || text[i] == '-') {
			continue
		}
		if start < i && len(table().names[text[start:i]]) > 0 {
			return true
		}
		start = i + 1
	}
	return false
}

// listeners are what commands listen on; claimed says which of them a program of the table knows, or reads something in.
func listeners(commands []*Command) (out []Listener, claimed []bool) {
	type place struct {
		program, file, text, address, port string
		line, column                       int
	}
	var seen map[place]int // a variable of the container is told about once, not for every command of its script
	claimed = make([]bool, len(commands))
	for i, c := range commands {
		own := c.programs()
		claimed[i] = len(own) > 0
		for _, n := range c.asked(own) {
			program := &table().programs[n]
			found := named(*program, program.Run(c))
			claimed[i] = claimed[i] || len(found) > 0
			for _, l := range found {
				if l.Doubt == "" {
					l.Doubt = c.Doubt
				}
				p := place{l.Program, l.File, l.Text, l.Address, l.Port, l.Line, l.Column}
				if i, again := seen[p]; again {
					if l.Doubt == "" {
						out[i] = l
					}
					continue
				}
				if seen == nil {
					seen = map[place]int{}
				}
				seen[p] = len(out)
				out = append(out, l)
			}
		}
	}
	return out, claimed
}

// programs are those whose own the executable or the image is. The image counts only where the executable is its own: an unknown
// executable in a known image may be anything, and so may a shell.
func (c *Command) programs() []int {
	x := table()
	own := x.images[c.Image]
	if c.Program != "" {
		own = x.names[c.Program]
	}
	if len(own) > 0 {
		c.rule = x.programs[own[0]].Rule
	}
	if slices.ContainsFunc(own, func(i int) bool { return x.programs[i].Run == nil }) {
		own = slices.DeleteFunc(slices.Clone(own), func(i int) bool { return x.programs[i].Run == nil })
	}
	return own
}

// asked are the programs to ask about a command, in order: its own and those that are asked about any.
func (c *Command) asked(own []int) []int {
	x := table()
	if len(own) == 0 {
		return x.any
	}
	all := slices.Concat(own, x.any)
	slices.Sort(all)
	return slices.Compact(all)
}

// commands are the commands that p certainly or possibly runs: one, or those of its shell script.
func (p *Process) commands() []*Command {
	env := p.Env[:min(len(p.Env), maxVariables)]
	arguments := min(len(p.Command)+len(p.Args), maxArguments)
	plain := plainWords(1 + len(env) + arguments)
	c := &Command{Image: imageName(p.Image), Exec: plain(File{Text: p.Image})}
	if len(env) > 0 {
		c.Env = make([]EnvVar, len(env))
	}
	for i, v := range env {
		c.Env[i] = EnvVar{Name: v.Name, Known: v.Known}
		if v.Known {
			c.Env[i].Word = plain(v.Value)
		}
	}
	var words []*Word
	for _, f := range slices.Concat(p.Command, p.Args)[:arguments] {
		words = append(words, plain(f))
	}
	if len(p.Command) > 0 {
		return c.unwrap(words)
	}
	// The entrypoint of most official images runs its arguments, or takes them as its own if the first is a flag.
	if len(words) > 0 && !strings.HasPrefix(words[0].Text, "-") && knownProgram(base(words[0].Text)) {
		return c.unwrap(words)
	}
	c.Args = words
	return []*Command{c}
}

// What is read of a container; nobody writes more.
const (
	maxVariables = 1000
	maxArguments = 10000
)

// imageName is the last path element of an image reference, without tag and digest.
func imageName(image string) string {
	name := image[strings.LastIndexByte(image, '/')+1:]
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	other := func(r rune) bool {
		return r >= utf8.RuneSelf || !isWordByte(byte(r)) && strings.IndexByte("./:@-[]", byte(r)) < 0
	}
	if strings.ContainsFunc(image, other) || strings.ToLower(name) != name {
		return "" // a variable, or no image
	}
	return name
}

func base(executable string) string { return path.Base(executable) }

func knownProgram(name string) bool {
	switch name {
	case "sh", "bash", "ash", "dash", "env", "exec", "tini", "dumb-init", "python", "python3", "bundle", "npm", "npx", "java", "node", "php":
		return true
	}
	return len(table().names[name]) > 0
}

// maxScript is the longest shell script that is read: longer ones than this are not found in manifests.
const maxScript = 1 << 16

// unwrap finds the program in argv, behind what only starts it. c is changed.
func (c *Command) unwrap(argv []*Word) []*Command {
	for len(argv) > 0 {
		name := base(argv[0].Text)
		rest := argv[1:]
		switch {
		case name == "sh" || name == "bash" || name == "ash" || name == "dash":
			for i, w := range rest {
				if strings.HasPrefix(w.Text, "-") && !strings.HasPrefix(w.Text, "--") && strings.HasSuffix(w.Text, "c") && i+1 < len(rest) {
					return c.script(rest[i+1])
				}
				if !strings.HasPrefix(w.Text, "-") && (i == 0 || !strings.HasSuffix(rest[i-1].Text, "o")) { // -o pipefail
					break
				}
			}
			c.Program, c.Exec = name, argv[0]
			return []*Command{c}
		case name == "env" || name == "exec" || name == "nohup" || name == "tini" || name == "dumb-init" || name == "catatonit" || name == "setpriv" || name == "opentelemetry-instrument" || name == "ddtrace-run":
			for len(rest) > 0 && strings.HasPrefix(rest[0].Text, "-") && rest[0].Text != "--" {
				rest = rest[1:]
			}
			if len(rest) > 0 && rest[0].Text == "--" {
				rest = rest[1:]
			}
			for name == "env" && len(rest) > 0 && strings.Contains(rest[0].Text, "=") {
				variable, _, _ := strings.Cut(rest[0].Text, "=")
				c.Env = append(slices.Clip(c.Env), EnvVar{variable, true, rest[0].after(len(variable) + 1)})
				rest = rest[1:]
			}
			argv = rest
			continue
		case strings.HasSuffix(name, "entrypoint.sh") && len(rest) > 0 && knownProgram(base(rest[0].Text)):
			argv = rest // as official images do
			continue
		case (name == "yarn" || name == "pnpm") && len(rest) > 0 && knownProgram(base(rest[0].Text)):
			argv = rest
			continue
		case (name == "timeout" || name == "numactl" || name == "nice") && len(rest) > 0:
			i := slices.IndexFunc(rest[:min(len(rest), 5)], func(w *Word) bool { return knownProgram(base(w.Text)) })
			if i >= 0 {
				argv = rest[i:]
				continue
			}
		case (name == "gosu" || name == "su-exec" || name == "chpst") && len(rest) > 0:
			argv = rest[1:]
			continue
		case (name == "bundle" || name == "npm" || name == "yarn" || name == "pnpm") && len(rest) > 1 && rest[0].Text == "exec",
			(name == "poetry" || name == "pipenv" || name == "uv" || name == "conda") && len(rest) > 1 && rest[0].Text == "run",
			name == "newrelic-admin" && len(rest) > 1 && rest[0].Text == "run-program":
			if argv = rest[1:]; len(argv) > 1 && argv[0].Text == "--" {
				argv = argv[1:]
			}
			// Options of the runner, some with a value: uv run --no-sync uvicorn.
			for i := 0; i < len(argv) && strings.HasPrefix(argv[0].Text, "-"); i++ {
				if i > 0 && knownProgram(base(argv[i].Text)) {
					argv = argv[i:]
				}
			}
			continue
		case name == "npx" && len(rest) > 0 && !strings.HasPrefix(rest[0].Text, "-"):
			argv = rest
			continue
		case strings.HasPrefix(name, "python"):
			for len(rest) > 0 && (rest[0].Text == "-u" || rest[0].Text == "-O" || rest[0].Text == "-B") {
				rest = rest[1:]
			}
			switch {
			case len(rest) > 1 && rest[0].Text == "-m":
				c.Program, c.Exec, c.Args = rest[1].Text, rest[1], rest[2:]
				return []*Command{c}
			case len(rest) > 0 && path.IsAbs(rest[0].Text) && strings.Contains(rest[0].Text, "/bin/"), len(rest) > 0 && base(rest[0].Text) == "manage.py":
				argv = rest
				continue
			}
		}
		c.Program, c.Exec, c.Args = name, argv[0], rest
		return []*Command{c}
	}
	return []*Command{c}
}

// shells are parsers that were used: a new one is larger than most scripts.
var shells = sync.Pool{New: func() any { return syntax.NewParser(syntax.Variant(syntax.LangBash)) }}

// script returns the commands of a shell script, each with the assignments before it. A script that cannot be read, or is too
// long, has none. Kubernetes' $(NAME) reads as a command substitution of the same length.
func (c *Command) script(w *Word) []*Command {
	if len(w.Text) > maxScript || len(w.parts) != 1 {
		return nil
	}
	parser := shells.Get().(*syntax.Parser)
	defer shells.Put(parser)
	file, err := parser.Parse(strings.NewReader(w.Text), "")
	if err != nil {
		return nil
	}
	env := slices.Clip(c.Env)
	var out []*Command
	forget := func(n syntax.Node) bool { // what n sets is not known
		if a, ok := n.(*syntax.Assign); ok && a.Name != nil {
			env = append(env, EnvVar{Name: a.Name.Value})
		}
		return true
	}
	var visit func(n syntax.Node) bool
	visit = func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.BinaryCmd:
			if n.Op == syntax.OrStmt || n.Op == syntax.AndStmt && isCondition(n.X) {
				syntax.Walk(n.X, visit)
				syntax.Walk(n.Y, forget)
				return false
			}
		case *syntax.IfClause, *syntax.CaseClause, *syntax.WhileClause, *syntax.ForClause, *syntax.FuncDecl, *syntax.CmdSubst, *syntax.ProcSubst, *syntax.TestClause:
			syntax.Walk(n, forget)
			return false // whether it runs depends on what it meets
		case *syntax.DeclClause:
			if n.Variant.Value == "export" {
				env = append(env, w.assignments(n.Args)...)
			}
		case *syntax.CallExpr:
			assigned := w.assignments(n.Assigns)
			if len(n.Args) == 0 {
				env = append(env, assigned...)
				return true
			}
			if name := n.Args[0].Lit(); name == "unset" || name == "read" {
				for _, a := range n.Args[1:] {
					env = append(env, EnvVar{Name: a.Lit()})
				}
			}
			sub := &Command{Image: c.Image, Exec: w.shellWord(n.Args[0]), Env: append(slices.Clip(env), assigned...), Doubt: c.Doubt}
			var argv []*Word
			for _, a := range n.Args {
				argv = append(argv, w.shellWord(a))
			}
			if len(out) < maxCommands {
				out = append(out, sub.unwrap(argv)...)
			}
		}
		return true
	}
	for _, s := range file.Stmts {
		syntax.Walk(s, visit)
		if call, ok := s.Cmd.(*syntax.CallExpr); ok && !s.Background && len(call.Args) > 1 && call.Args[0].Lit() == "exec" {
			break // the shell ends here
		}
	}
	return out
}

// isCondition reports whether a statement is there for its exit status: [ -f x ] && app.
func isCondition(s *syntax.Stmt) bool {
	switch c := s.Cmd.(type) {
	case *syntax.TestClause, *syntax.ArithmCmd:
		return true
	case *syntax.CallExpr:
		return s.Negated || len(c.Args) > 0 && slices.Contains([]string{"[", "test", "grep", "command", "which", "type"}, c.Args[0].Lit())
	case *syntax.BinaryCmd:
		return isCondition(c.Y) || c.Op == syntax.AndStmt && isCondition(c.X)
	}
	return s.Negated
}

const maxCommands = 1000

func (w *Word) assignments(list []*syntax.Assign) []EnvVar {
	var out []EnvVar
	for _, a := range list {
		if a.Name == nil || a.Value == nil || a.Array != nil {
			continue
		}
		out = append(out, EnvVar{a.Name.Value, true, w.shellWord(a.Value)})
	}
	return out
}

// shellWord is a word of the script w. Expansions stay as they are written.
func (w *Word) shellWord(n *syntax.Word) *Word {
	out := &Word{file: w.file, base: w.base, shell: true}
	origin := w.parts[0].source - w.parts[0].text
	var text strings.Builder
	add := func(from, to syntax.Pos, quote byte) {
		s, e := int(from.Offset()), int(to.Offset())
		out.parts = append(out.parts, part{text.Len(), origin + s, e - s, quote})
		text.WriteString(w.Text[s:e])
	}
	for _, p := range n.Parts {
		switch p := p.(type) {
		case *syntax.SglQuoted:
			from, to := int(p.Left.Offset())+1, int(p.Right.Offset())
			out.parts = append(out.parts, part{text.Len(), origin + from, to - from, '\''})
			text.WriteString(w.Text[from:to])
		case *syntax.DblQuoted:
			for _, inner := range p.Parts {
				add(inner.Pos(), inner.End(), '"')
			}
		default:
			add(p.Pos(), p.End(), 0)
		}
	}
	out.Text = text.String()
	return out
}

// after is the rest of a word from an offset.
func (w *Word) after(offset int) *Word {
	out := *w
	out.Text = w.Text[offset:]
	out.parts = nil
	for _, p := range w.parts {
		if skip := max(offset-p.text, 0); skip <= p.length {
			out.parts = append(out.parts, part{p.text + skip - offset, p.source + skip, p.length - skip, p.quote})
		}
	}
	return &out
}

// slice is a part of a word.
func (w *Word) slice(from, to int) *Word {
	out := w.after(from)
	out.Text = out.Text[:to-from]
	for i, p := range out.parts {
		if p.text+p.length > to-from {
			out.parts[i].length = max(to-from-p.text, 0)
		}
	}
	return out
}

// Replace is the edit that writes s instead of Text[from:to]; none where that part is not written in one piece.
func (w *Word) Replace(from, to int, s string) []Edit {
	for _, p := range w.parts {
		if from < p.text || to > p.text+p.length {
			continue
		}
		if w.shell {
			if strings.ContainsAny(s, "'\"\\$`\n") {
				return nil
			}
			if p.quote == 0 && (strings.ContainsAny(s, "[]*?{}|&;<>()# ~!") || s == "" && from == 0 && to == len(w.Text)) {
				s = "'" + s + "'"
			}
		}
		at := p.source + from - p.text
		return []Edit{{w.file, at, at + to - from, s}}
	}
	return nil
}

// Listener is a listener that this word configures; text is how a message quotes it.
func (w *Word) Listener(text, address, port string, family Family) Listener {
	at := 0
	if len(w.parts) > 0 {
		at = min(w.parts[0].source, len(w.base))
	}
	l := Listener{File: w.file, Text: oneLine(text), Address: address, Port: port, Family: family}
	l.Line, l.Column = position(w.base, at)
	if family == IPv4 {
		l.Fault, l.Reason = IPv4Only, binds0(address)
	}
	return l
}

// A Flag is one use of a command-line option.
type Flag struct {
	Name  string // as written: "--bind"
	*Word        // its value
}

// String is the flag as a message quotes it.
func (f Flag) String() string { return f.Name + " " + f.Text }

// Flags returns the uses of options in order: --name value, --name=value, and for short ones -nvalue. Go's -name=value counts
// too. A single dash is a name of its own: "-bind" is not "--bind".
func (c *Command) Flags(names ...string) []Flag {
	var out []Flag
	for i := 0; i < len(c.Args); i++ {
		w := c.Args[i]
		if w.Text == "--" {
			break
		}
		for _, name := range names {
			rest, ok := strings.CutPrefix(w.Text, name)
			switch {
			case !ok:
				continue
			case rest == "" && i+1 < len(c.Args):
				i++
				out = append(out, Flag{name, c.Args[i]})
			case strings.HasPrefix(rest, "="):
				out = append(out, Flag{name, w.after(len(name) + 1)})
			case rest != "" && len(name) == 2 && name[1] != '-':
				out = append(out, Flag{name, w.after(2)})
			default:
				continue
			}
			break
		}
	}
	return out
}

// Has reports whether an option without value is there.
func (c *Command) Has(names ...string) bool {
	return slices.ContainsFunc(c.Args, func(w *Word) bool { return slices.Contains(names, w.Text) })
}

// Var returns the last value of a variable. set is true also if the value is unknown; the word is nil then.
func (c *Command) Var(name string) (w *Word, set bool) {
	for i := len(c.Env) - 1; i >= 0; i-- {
		if c.Env[i].Name == name && name != "" {
			return c.Env[i].Word, true
		}
	}
	return nil, false
}

// expanded is the variable that a word consists of, where its value is known; else the word. In a shell that is $NAME, elsewhere
// Kubernetes' $(NAME). It is read, never changed: who else reads the variable is not known. doubt is what the rest of a shell script
// may do to it.
func (c *Command) expanded(w *Word) (value *Word, doubt string) {
	name, ok := strings.CutPrefix(w.Text, "$")
	switch {
	case !ok || len(w.parts) != 1 || w.parts[0].quote == '\'':
		return w, ""
	case strings.HasPrefix(name, "(") && strings.HasSuffix(name, ")"), w.shell && strings.HasPrefix(name, "{") && strings.HasSuffix(name, "}"):
		name = name[1 : len(name)-1]
	case !w.shell:
		return w, ""
	}
	v, _ := c.Var(name)
	if v == nil || v.Text == "" || strings.Contains(v.Text, "$") {
		return w, ""
	}
	if w.shell && !strings.HasPrefix(w.Text, "$(") {
		doubt = "the script sets " + oneLine(name) + " otherwise"
	}
	read := *v
	read.parts = nil
	return &read, doubt
}

// mentions reports whether an argument or variable has a word in it.
func (c *Command) mentions(word string) bool {
	return slices.ContainsFunc(c.Args, func(w *Word) bool { return strings.Contains(w.Text, word) }) ||
		slices.ContainsFunc(c.Env, func(e EnvVar) bool { return e.Word != nil && strings.Contains(e.Text, word) })
}
