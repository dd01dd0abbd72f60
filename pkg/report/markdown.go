package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/sixgate/sixgate/pkg/rules"
)

const (
	// maxMarkdown is what GitHub takes as one comment, in characters; we count bytes, which are never fewer.
	maxMarkdown = 65536
	// markdownTail is kept free for the sentence that says what is left out.
	markdownTail = 300
	// maxMarkdownRows bounds the tables of the summary, so that findings have room.
	maxMarkdownRows   = 50
	maxMarkdownErrors = 20
)

// writeMarkdown writes a comment for a pull request, or a job summary: what is found, the worst first, as far as there is room.
func (r *Report) writeMarkdown(w io.Writer, o Options) error {
	s := &r.Summary
	b := &strings.Builder{}
	fmt.Fprintf(b, "## Sixgate: %s\n\n", r.verdict())
	if ready := s.Readiness.String(); ready != "" {
		fmt.Fprintf(b, "**%s**\n\n", ready)
	}
	b.WriteString(s.String() + "\n")

	if byRule := r.byRule(); len(byRule) > 0 {
		b.WriteString("\n| rule | deny | warn | `sixgate fix` repairs |\n| --- | --: | --: | --: |\n")
		for _, c := range byRule[:min(len(byRule), maxMarkdownRows)] {
			fmt.Fprintf(b, "| [%s](%s) | %d | %d | %d |\n", c.rule, rulePage(c.rule), c.deny, c.warn, c.fixable)
		}
		markdownMore(b, len(byRule), "rule")
	}
	if namespaces := r.namespaceRows(); len(namespaces) > 1 {
		b.WriteString("\n| namespace | ready | deny | warn |\n| --- | --: | --: | --: |\n")
		for _, n := range namespaces[:min(len(namespaces), maxMarkdownRows)] {
			fmt.Fprintf(b, "| %s | %d of %d | %d | %d |\n", markdownText(n.name), n.Ready, n.Workloads, n.Deny, n.Warn)
		}
		markdownMore(b, len(namespaces), "row")
	}
	for i := range r.Errors {
		if i == maxMarkdownErrors {
			fmt.Fprintf(b, "\n- %d more errors\n", len(r.Errors)-i)
			break
		}
		fmt.Fprintf(b, "\n- not read: %s\n", markdownText(shorten(r.Errors[i].String(), 400)))
	}
	written := 0
	for _, f := range r.worst() {
		row := o.markdownRow(f)
		if written == 0 {
			row = "\n| | where | object | finding |\n| --- | --- | --- | --- |\n" + row
		}
		if b.Len()+len(row) > maxMarkdown-markdownTail {
			break
		}
		b.WriteString(row)
		written++
	}
	if left := len(r.Findings) - written; left > 0 {
		fmt.Fprintf(b, "\n**%d of %s are left out here, what is denied comes first.** `sixgate audit` shows all of them.\n", left, count(len(r.Findings), "finding"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func markdownMore(b *strings.Builder, n int, noun string) {
	if left := n - maxMarkdownRows; left > 0 {
		fmt.Fprintf(b, "\n%s more\n", count(left, noun))
	}
}

func (o *Options) markdownRow(f *Finding) string {
	where := Printable(o.relative(f.File))
	if f.Line > 0 {
		where += fmt.Sprintf(":%d", f.Line)
	}
	if link := o.linkTo(f.At, f.Template); link != "" {
		where = "[" + markdownText(where) + "](" + markdownTarget(link) + ")"
	} else {
		where = markdownCode(where)
	}
	level := f.Level
	if level == rules.Deny.String() {
		level = "**" + level + "**"
	}
	message := f.where + ": " + f.Message
	if f.Repaired {
		message += " (" + f.repair + ")"
	}
	return fmt.Sprintf("| %s | %s | %s | %s [%s](%s) |\n", level, where, markdownText(f.object()), markdownText(message), f.Rule, rulePage(f.Rule))
}

// markdownTarget is the address of a link that is safe in a cell of a table.
func markdownTarget(link string) string {
	return "<" + strings.NewReplacer("<", "%3C", ">", "%3E", "|", "%7C").Replace(link) + ">"
}

// markdownEscape takes from GFM's punctuation its meaning. A mention is only stopped by a character between @ and the name.
var markdownEscape = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;",
	"&", "&amp;", "#", `\#`, "|", `\|`, "~", `\~`, "!", `\!`, "$", `\$`, "@", "@\u200b", "://", ":\u200b//")

// markdownText is a text in which only what stands in double quotes is set apart, as code.
func markdownText(s string) string {
	var b strings.Builder
	s = strings.ReplaceAll(Printable(s), "\t", " ")
	for {
		before, rest, ok := strings.Cut(s, `"`)
		inside, after, closed := strings.Cut(rest, `"`)
		if !ok || !closed || strings.TrimSpace(inside) == "" {
			break
		}
		b.WriteString(markdownEscape.Replace(before) + markdownCode(inside))
		s = after
	}
	return b.String() + markdownEscape.Replace(s)
}

// markdownCode is a code span that is safe in a cell of a table.
func markdownCode(s string) string {
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + strings.ReplaceAll(s, "|", `\|`) + fence
}

func shorten(s string, runes int) string {
	if r := []rune(s); len(r) > runes {
		return string(r[:runes]) + "…"
	}
	return s
}
