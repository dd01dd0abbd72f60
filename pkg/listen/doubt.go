package listen

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// An unused name is that of a backup, sample or document, which no server is told to load.
var unused = regexp.MustCompile(`(?i)([-_.](bak|backup|old|orig|save|rpmsave|rpmnew|dist|disabled|documented|proto|samples?|examples?)(\.(conf|cfg|cf|cnf|ini|xml|ya?ml|json|toml))?|\.default|~|\.(md|txt|rst|adoc|html?))$|^(samples?|examples?)[-_]|^(readme|notes|changelog)`)

// A template has markup of Go, Jinja or ERB.
var template = regexp.MustCompile(`\{\{|\{%-? |<%[-= \n]`)

// An include is a line that reads another file, in the formats of includers; its first group is what is read.
var include = regexp.MustCompile(`(?im)^[ \t]*(?:!?include(?:_try|optional|-toplevel)?|@include|conf-dir|conf-file|&include|&merge)[ \t]*[ \t:=][ \t]*"?([^"\s,]+)`)

// A loopbackPort is an address that is dialled, or bound if the first group is there.
var loopbackPort = regexp.MustCompile(`(listen\s+)?(?:\b127\.0\.0\.1|\blocalhost|\[::1\]):([0-9]+)`)

// includers are programs where an included file may change what the including one binds. nginx resolves its includes itself.
var includers = []string{"Apache httpd", "PHP-FPM", "Squid", "stunnel", "Dovecot", "Unbound", "dnsmasq", "OpenSSH", "rsync"}

// doubtFiles gives the faults of p in files the doubts that every format has: the file is a template, or nobody loads it, or another
// file brings IPv6.
func doubtFiles(p Program, files []File, found []Listener) []Listener {
	doubts := map[string]string{} // by file
	var local map[string][]string
	for i, l := range found {
		if l.Fault == None || l.Doubt != "" {
			continue
		}
		if local == nil {
			local = dialled(files)
		}
		doubt, known := doubts[l.File]
		if at := slices.IndexFunc(files, func(f File) bool { return f.Name == l.File }); !known && at >= 0 {
			doubt = doubtFile(p, files[at], files, found)
			doubts[l.File] = doubt
		}
		if doubt == "" && slices.ContainsFunc(local[l.Port], func(file string) bool { return file != l.File }) {
			found[i].Doubt = "only a neighbour in the pod dials it"
			continue
		}
		if found[i].Doubt = doubt; doubt != "" || p.Name == nginxProgram || l.Fault != IPv4Only {
			continue
		}
		// Programs that load all files of a folder.
		for _, o := range found[:min(len(found), maxBinds)] {
			if o.File != l.File && o.Port == l.Port && o.UDP == l.UDP && (o.Family == IPv6 || o.Family == Dual) {
				found[i].Doubt = fmt.Sprintf("%q has the port over IPv6", cut(o.File, 30))
				break
			}
		}
	}
	return found
}

// dialled are the ports that files dial over loopback, as a web server does its PHP-FPM, with the files that do.
func dialled(files []File) map[string][]string {
	out := map[string][]string{}
	for _, f := range files {
		if !strings.Contains(f.Text, "127.0.0.1:") && !strings.Contains(f.Text, "localhost:") && !strings.Contains(f.Text, "[::1]:") {
			continue
		}
		for _, m := range loopbackPort.FindAllStringSubmatch(f.Text, maxBinds) {
			if m[1] == "" && !slices.Contains(out[m[2]], f.Name) {
				out[m[2]] = append(out[m[2]], f.Name)
			}
		}
	}
	return out
}

func doubtFile(p Program, f File, files []File, found []Listener) string {
	switch {
	case unused.MatchString(f.Name):
		return p.Name + " does not load this file"
	case (strings.Contains(f.Text, "{{") || strings.Contains(f.Text, "{%") || strings.Contains(f.Text, "<%")) && template.MatchString(f.Text):
		return "the template writes something else"
	case !slices.Contains(includers, p.Name):
		return ""
	}
	for _, m := range include.FindAllStringSubmatch(f.Text, 100) {
		if p.Name == "Apache httpd" && strings.Contains(m[1], "mod") {
			continue // conf.modules.d, mods-enabled: no Listen
		}
		base := path.Base(m[1])
		atHand := false
		for _, o := range files {
			if ok, err := path.Match(base, o.Name); err == nil && ok && o.Name != f.Name {
				// What was read as the program's is compared; what cannot set a listener is no matter.
				atHand = slices.ContainsFunc(found, func(l Listener) bool { return l.File == o.Name }) ||
					!slices.ContainsFunc(p.Gist, func(g string) bool { return strings.Contains(o.Text, g) })
				if !atHand {
					break
				}
			}
		}
		if !atHand {
			return fmt.Sprintf("the included %q changes it", cut(m[1], 30))
		}
	}
	return ""
}
