package listen

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// nginx refuses a longer word (NGX_CONF_BUFFER in ngx_conf_file.c), and does not nest blocks as deep as this. The
// limits also protect crossplane, whose time and stack grow without bound: 1 MB of "a{" keeps it busy for minutes.
const (
	maxWord  = 4096
	maxDepth = 64
)

// Limits of one listen, which is compared with others and quoted; real ones have ten words.
const (
	maxListenWords = 256
	maxListenBytes = 1024
)

// A word is a token of nginx's grammar, with its quotes.
type word struct{ start, end int }

// A statement is the place of a directive in the text.
type statement struct {
	words []word
	end   int // after the ";" or "{"
	block bool
}

// A directive is a statement of the configuration with what stands in its block.
type directive struct {
	name  string
	args  []string
	at    statement
	block []directive
}

// confirm returns an error unless crossplane, a parser of other people, reads the same directives in text as the scanner below.
// It is slow, so it is asked only where something is found to be wrong: a fault needs two witnesses.
func confirm(text string) (err error) {
	// crossplane is third-party code on the way of every admission request.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("parse: %v", p)
		}
	}()
	tree, clean, err := scan(text)
	if err != nil {
		return err
	}
	payload, err := crossplane.Parse("", &crossplane.ParseOptions{
		Open: func(string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(clean)), nil
		},
		SingleFile:                true,
		StopParsingOnError:        true,
		SkipDirectiveContextCheck: true,
		SkipDirectiveArgsCheck:    true,
	})
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	for _, c := range payload.Config {
		if err := agree(tree, c.Parsed); err != nil {
			return err
		}
	}
	return nil
}

func agree(tree []directive, parsed crossplane.Directives) error {
	if len(tree) != len(parsed) {
		return fmt.Errorf("parse: %d directives, expected %d", len(parsed), len(tree))
	}
	for i, d := range tree {
		p := parsed[i]
		if d.name != p.Directive || d.at.block != (p.Block != nil) {
			return fmt.Errorf("parse: directive %q in the place of %q", p.Directive, d.name)
		}
		if d.name == "listen" && len(p.Args) != len(d.args) {
			return fmt.Errorf("parse: listen with %d parameters, expected %d", len(p.Args), len(d.args))
		}
		if err := agree(d.block, p.Block); err != nil {
			return err
		}
	}
	return nil
}

func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }

func unquote(text string, w word) string {
	s := text[w.start:w.end]
	if s[0] == '"' || s[0] == '\'' {
		return s[1 : len(s)-1]
	}
	return s
}

// scan reads the directives of text as ngx_conf_read_token does, and returns it also without its Lua code, which has a
// grammar of its own.
func scan(text string) (tree []directive, clean string, err error) {
	var words []word // and args: of the directive that is read
	var args []string
	var allWords pool[word]
	var allArgs pool[string]
	var blocks pool[directive]
	open := [][]directive{nil} // the blocks that are open, outermost first
	var lua []word
	i := 0
	fail := func(what string) ([]directive, string, error) {
		return nil, "", fmt.Errorf("parse: line %d: %s", 1+strings.Count(text[:min(i, len(text))], "\n"), what)
	}
	for i < len(text) {
		switch c := text[i]; c {
		case ' ', '\t', '\r', '\n':
			i++
		case '#':
			n := strings.IndexByte(text[i:], '\n')
			if n < 0 {
				n = len(text) - i
			}
			i += n
		case ';', '{':
			i++
			if len(words) == 0 {
				return fail(fmt.Sprintf("unexpected %q", c))
			}
			args = args[:0]
			for _, w := range words[1:] {
				args = append(args, unquote(text, w))
			}
			d := directive{name: unquote(text, words[0]), args: allArgs.keep(args), at: statement{allWords.keep(words), i, c == '{'}}
			if d.name == "listen" && (d.at.block || slices.ContainsFunc(d.args, hasControl)) {
				return fail("a listen that nginx refuses")
			}
			if d.name == "listen" && (len(words) > maxListenWords || i-words[0].start > maxListenBytes) {
				return fail("a listen that long")
			}
			top := &open[len(open)-1]
			*top = append(*top, d)
			words = words[:0]
			if c == ';' {
				break
			}
			if len(open) > maxDepth {
				return fail("too many blocks in blocks")
			}
			if len(open) < cap(open) {
				open = open[:len(open)+1]
				open[len(open)-1] = open[len(open)-1][:0]
			} else {
				open = append(open, nil)
			}
			if strings.HasSuffix(d.name, "_by_lua_block") {
				end := skipLua(text, i)
				lua = append(lua, word{i, end})
				i = end
			}
		case '}':
			if i++; len(words) > 0 {
				return fail("unexpected '}'")
			}
			last := len(open) - 1
			if last == 0 {
				return fail("unexpected '}'")
			}
			above := open[last-1]
			above[len(above)-1].block = blocks.keep(open[last])
			open = open[:last]
		default:
			end := endOfWord(text, i)
			if end < 0 || end-i > maxWord {
				return fail("malformed word")
			}
			words = append(words, word{i, end})
			i = end
		}
	}
	if len(words) > 0 || len(open) > 1 {
		return fail("unexpected end")
	}
	return open[0], blank(text, lua), nil
}

// endOfWord returns the offset after the word that starts at start, or -1 if it is malformed.
func endOfWord(text string, start int) int {
	if q := text[start]; q == '"' || q == '\'' {
		for i := start + 1; i < len(text) && i-start <= maxWord; i++ {
			switch text[i] {
			case '\\':
				i++
			case 0:
				return -1
			case q:
				if i++; i < len(text) && !strings.ContainsRune(" \t\r\n;{)", rune(text[i])) {
					return -1
				}
				return i
			}
		}
		return -1
	}
	open := false // in ${name}
	i := start
loop:
	for ; i < len(text) && i-start <= maxWord; i++ {
		switch text[i] {
		case 0:
			return -1
		case '\\':
			i++
		case ' ', '\t', '\r', '\n', ';':
			break loop
		case '{':
			if i == start || text[i-1] != '$' {
				break loop
			}
			open = true
		case '}':
			// nginx would take it for a letter; nobody means that.
			if !open {
				return -1
			}
			open = false
		}
	}
	if open {
		return -1
	}
	return min(i, len(text))
}

// skipLua returns the offset of the "}" that ends the Lua code which starts at i, or the length of text.
func skipLua(text string, i int) int {
	for depth := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth == 0 {
				return i
			}
		case c == '"' || c == '\'':
			for i++; i < len(text) && text[i] != c; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case c == '[':
			i = skipLong(text, i)
		case strings.HasPrefix(text[i:], "--"):
			if end := skipLong(text, i+2); end > i+2 {
				i = end
			} else if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
				i += n
			} else {
				return len(text)
			}
		}
	}
	return len(text)
}

// skipLong returns the offset of the last byte of the Lua long bracket that starts at i, or i if there is none.
func skipLong(text string, i int) int {
	if i >= len(text) || text[i] != '[' {
		return i
	}
	level := 1
	for i+level < len(text) && text[i+level] == '=' {
		level++
	}
	if i+level >= len(text) || text[i+level] != '[' || level > maxWord {
		return i
	}
	end := strings.Index(text[i:], "]"+text[i+1:i+level]+"]")
	if end < 0 {
		return len(text)
	}
	return i + end + level
}

// blank overwrites the ranges with spaces, so that lines stay where they are.
func blank(text string, ranges []word) string {
	if len(ranges) == 0 {
		return text
	}
	b := []byte(text)
	for _, r := range ranges {
		for i := r.start; i < r.end; i++ {
			if b[i] != '\n' {
				b[i] = ' '
			}
		}
	}
	return string(b)
}
