package listen

import (
	"fmt"
	"io"
	"strings"

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

// A directive is what crossplane read, with its place.
type directive struct {
	name  string
	args  []string
	at    statement
	block []directive
}

// parseNginx returns the directives of text. It is not nginx configuration unless two readers agree: crossplane, which
// has no columns, and the scanner below, which has no tree.
func parseNginx(text string) (tree []directive, err error) {
	// crossplane is third-party code on the way of every admission request.
	defer func() {
		if p := recover(); p != nil {
			tree, err = nil, fmt.Errorf("parse: %v", p)
		}
	}()
	statements, clean, err := scan(text)
	if err != nil {
		return nil, err
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
		return nil, fmt.Errorf("parse: %w", err)
	}
	for _, c := range payload.Config {
		if tree, err = attach(text, c.Parsed, &statements); err != nil {
			return nil, err
		}
	}
	if len(statements) > 0 {
		return nil, fmt.Errorf("parse: %d directives too few", len(statements))
	}
	return tree, nil
}

// attach gives each parsed directive the next statement, in the order of the text.
func attach(text string, parsed crossplane.Directives, statements *[]statement) ([]directive, error) {
	out := make([]directive, 0, len(parsed))
	for _, p := range parsed {
		if len(*statements) == 0 {
			return nil, fmt.Errorf("parse: unexpected directive %q", p.Directive)
		}
		s := (*statements)[0]
		*statements = (*statements)[1:]
		if unquote(text, s.words[0]) != p.Directive || s.block != (p.Block != nil) {
			return nil, fmt.Errorf("parse: directive %q in the place of %q", p.Directive, unquote(text, s.words[0]))
		}
		d := directive{name: p.Directive, args: p.Args, at: s}
		if p.Directive == "listen" && len(p.Args) != len(s.words)-1 {
			return nil, fmt.Errorf("parse: listen with %d parameters, expected %d", len(p.Args), len(s.words)-1)
		}
		if p.Directive == "listen" && (len(s.words) > maxListenWords || s.end-s.words[0].start > maxListenBytes) {
			return nil, fmt.Errorf("parse: listen with %d words", len(s.words))
		}
		if p.Block != nil {
			var err error
			if d.block, err = attach(text, p.Block, statements); err != nil {
				return nil, err
			}
		}
		out = append(out, d)
	}
	return out, nil
}

func unquote(text string, w word) string {
	s := text[w.start:w.end]
	if s[0] == '"' || s[0] == '\'' {
		return s[1 : len(s)-1]
	}
	return s
}

// scan splits text into statements as ngx_conf_read_token does, and returns it also without its Lua code, which has a
// grammar of its own.
func scan(text string) (statements []statement, clean string, err error) {
	var words []word
	var lua []word
	depth, i := 0, 0
	fail := func(what string) ([]statement, string, error) {
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
			statements = append(statements, statement{words, i, c == '{'})
			name := unquote(text, words[0])
			words = nil
			if c == ';' {
				break
			}
			if depth++; depth > maxDepth {
				return fail("too many blocks in blocks")
			}
			if strings.HasSuffix(name, "_by_lua_block") {
				end := skipLua(text, i)
				lua = append(lua, word{i, end})
				i = end
			}
		case '}':
			if i++; len(words) > 0 {
				return fail("unexpected '}'")
			}
			if depth--; depth < 0 {
				return fail("unexpected '}'")
			}
		default:
			end := endOfWord(text, i)
			if end < 0 || end-i > maxWord {
				return fail("malformed word")
			}
			words = append(words, word{i, end})
			i = end
		}
	}
	if len(words) > 0 || depth > 0 {
		return fail("unexpected end")
	}
	return statements, blank(text, lua), nil
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
