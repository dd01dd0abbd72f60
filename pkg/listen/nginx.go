package listen

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// Limits that no real configuration reaches; beyond them there is no answer, so that an answer never takes long.
const (
	maxListens  = 4096   // and servers, in one set of files: they are compared in pairs
	maxNames    = 10     // of a server, that are compared
	maxIncluded = 200000 // directives, counted again for every server that includes them
)

// Nginx returns the listeners of the nginx servers in files, which are the files of one folder or ConfigMap: they may
// include each other. A file that is not unmistakably nginx configuration has no listeners; one that is has at least
// one for each server. A server accepts IPv6 on a port only by a "listen" of its own, so each server is judged alone.
//
// Source: nginx.org/en/docs/http/ngx_http_core_module.html#listen, and nginx run with each form.
func Nginx(files []File) []Listener {
	parsed := make([]*nginxFile, len(files))
	for {
		out := judgeNginx(files, parsed)
		if !slices.ContainsFunc(out, func(l Listener) bool { return l.Fault != None }) {
			return out
		}
		// A fault needs two witnesses. A file on which they differ is none of nginx's, so the rest is judged again without it.
		agreed := true
		for i, f := range parsed {
			if f == nil || f.err != nil || f.confirmed {
				continue
			}
			f.err = confirm(files[i].Text)
			f.confirmed = true
			agreed = agreed && f.err == nil
		}
		if agreed {
			return out
		}
	}
}

// judgeNginx judges the files that are in parsed, or can be read, as nginx configuration.
func judgeNginx(files []File, parsed []*nginxFile) []Listener {
	n := nginx{files: files, parsed: parsed}
	for i := range files {
		if maybeNginx(files[i]) {
			n.findServers(i)
		}
	}
	if n.total > maxListens {
		return nil
	}
	var out []Listener
	for _, s := range n.servers {
		out = append(out, n.judge(s)...)
	}
	return out
}

// maybeNginx reports whether f has a word "server" with a block, fast and without allocation.
func maybeNginx(f File) bool {
	if strings.HasSuffix(f.Name, ".md") || strings.HasPrefix(f.Text, "#!") {
		return false
	}
	text := f.Text
	for {
		i := strings.Index(text, "server")
		if i < 0 {
			return false
		}
		text = text[i+len("server"):]
		j := 0
		for j < len(text) && strings.IndexByte(" \t\r\n", text[j]) >= 0 {
			j++
		}
		if j < len(text) && (text[j] == '{' || text[j] == '#') {
			return true
		}
	}
}

type nginx struct {
	files    []File
	parsed   []*nginxFile // nil until needed
	servers  []*nginxServer
	listens  []*nginxListen            // of all servers
	named    map[string][]*nginxServer // by server_name; nil until needed
	total    int                       // servers and listens, even those beyond the limit
	included int
}

type nginxFile struct {
	tree  []directive
	lines []int // offset of each line; nil until needed
	err   error

	confirmed bool // confirm was asked; err is its answer
}

type nginxServer struct {
	file    int
	at      statement
	context string   // http, stream, mail, or "" if the file is included into one of them
	http    bool     // recognisably an http server
	names   []string // of server_name; none is one empty name
	refuses bool     // a catch-all that serves nothing
	listens []*nginxListen
	byPort  []*nginxListen // those with IPv6, sorted
	doubt   string
}

type nginxListen struct {
	file     int       // of the server
	at       statement // in the file of the server, so perhaps of an include directive
	words    []string  // as written: listen, address, parameters
	text     string    // the words in one line
	params   []string  // without their quotes
	address  string    // without the port
	port     string
	low, hi  int // the port as numbers, 0 if it is a variable
	udp      bool
	family   Family
	wildcard bool
	doubt    string

	dual, defaults, optioned, reuseport bool // by its parameters
}

func (n *nginx) parse(i int) *nginxFile {
	if n.parsed[i] == nil {
		tree, _, err := scan(n.files[i].Text)
		n.parsed[i] = &nginxFile{tree: tree, err: err}
	}
	return n.parsed[i]
}

// findServers appends the servers of file i, if all of the file looks like nginx configuration.
func (n *nginx) findServers(i int) {
	f := n.parse(i)
	if f.err != nil {
		return
	}
	var blocks []*directive
	var servers []*nginxServer
	typical := false
	collect := func(tree []directive, context string) bool {
		for k := range tree {
			d := &tree[k]
			if !isDirectiveName(d.name) {
				return false
			}
			if d.name != "server" || !d.at.block || len(d.args) > 0 {
				continue
			}
			for _, inner := range d.block {
				// Others write "name = value;".
				if !isDirectiveName(inner.name) || !inner.at.block && len(inner.args) > 0 && inner.args[0] == "=" {
					return false
				}
				typical = typical || isTypical(inner)
			}
			if len(servers) > maxListens {
				continue // too many for an answer
			}
			blocks = append(blocks, d)
			servers = append(servers, &nginxServer{file: i, at: d.at, context: context, http: context == "http"})
		}
		return true
	}
	if !collect(f.tree, "") {
		return
	}
	for _, d := range f.tree {
		// A shell script that writes nginx configuration may parse too.
		if !knownToNginx(d.name) && !strings.Contains(d.name, "_") && !isPlaceholder(d.name) {
			return
		}
		if len(d.args) == 0 && (d.name == "http" || d.name == "stream" || d.name == "mail") && !collect(d.block, d.name) {
			return
		}
	}
	if !typical {
		return
	}
	for j, s := range servers {
		if n.total > maxListens {
			return
		}
		n.fill(s, blocks[j].block, nil, map[int]bool{i: true}, n.files[i].Text)
		if s.doubt == "" && loopbackOnly(blocks[j].block) {
			s.doubt = "the server admits loopback clients only"
		}
		if s.doubt == "" && isAside(n.files[i].Name) {
			s.doubt = "nginx may not load this file"
		}
		s.refuses = s.context != "stream" && refuses(blocks[j].block)
		s.names = serverNames(blocks[j].block)
		n.total++
		n.servers = append(n.servers, s)
		n.listens = append(n.listens, s.listens...)
	}
}

// isAside reports whether a file has the name of a backup, a sample or a document, which nginx is seldom told to load.
func isAside(name string) bool {
	name = strings.ToLower(name)
	switch path.Ext(name) {
	case ".bak", ".old", ".orig", ".disabled", ".sample", ".example", ".txt", ".rst", ".yaml", ".yml", ".cfg", ".sh":
		return true
	}
	return strings.HasPrefix(name, "readme")
}

// isTypical reports whether a directive in a block called server shows that the block is nginx's.
func isTypical(d directive) bool {
	switch d.name {
	case "listen", "server_name", "root", "return", "proxy_pass", "include", "rewrite", "ssl_certificate":
		return !d.at.block && len(d.args) > 0
	case "location":
		return d.at.block && len(d.args) > 0
	}
	return false
}

func isDirectiveName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return isPlaceholder(s)
		}
	}
	return s != ""
}

// isPlaceholder reports whether s starts with a variable that another program replaces, such as envsubst.
func isPlaceholder(s string) bool {
	return strings.HasPrefix(s, "${")
}

func knownToNginx(name string) bool {
	for _, match := range []crossplane.MatchFunc{
		crossplane.DefaultDirectivesMatchFunc, crossplane.MatchLuaLatest,
		crossplane.MatchHeadersMoreLatest, crossplane.MatchGeoip2Latest,
	} {
		if _, ok := match(name); ok {
			return true
		}
	}
	return name == "brotli" || name == "modsecurity" || name == "pagespeed" || name == "zstd"
}

// fill adds the listens of a server's block, or of a file that it includes by the directive at (nil in the block itself).
func (n *nginx) fill(s *nginxServer, block []directive, at *statement, seen map[int]bool, text string) {
	for _, d := range block {
		place := d.at
		if at != nil {
			place = *at
			if n.included++; n.included > maxIncluded {
				s.doubt = "it includes more than can be read"
				return
			}
		}
		switch {
		case d.name == "listen" && len(d.args) > 0:
			if n.total++; n.total > maxListens {
				return
			}
			l := newListen(text, d, place)
			l.file = s.file
			s.listens = append(s.listens, l)
		case d.name == "include" && len(d.args) > 0:
			n.include(s, d.args[0], place, seen)
		case isPlaceholder(d.name):
			s.doubt = fmt.Sprintf("%q may stand for anything", d.name)
		case d.name == "location" || d.name == "root" || d.name == "index" || d.name == "try_files" || d.name == "rewrite" || d.name == "error_page":
			s.http = true
		}
	}
}

func (n *nginx) include(s *nginxServer, pattern string, at statement, seen map[int]bool) {
	base := path.Base(pattern)
	switch base {
	case "mime.types", "fastcgi_params", "fastcgi.conf", "scgi_params", "uwsgi_params":
		return // nginx brings them, and they have no listen
	}
	if n.included += len(n.files); n.included > maxIncluded {
		s.doubt = "it includes more than can be read"
		return
	}
	resolved := false
	for i, f := range n.files {
		if ok, err := path.Match(base, f.Name); err != nil || !ok {
			continue
		}
		resolved = true
		if seen[i] {
			continue
		}
		seen[i] = true
		parsed := n.parse(i)
		if parsed.err != nil {
			s.doubt = fmt.Sprintf("the included %q cannot be read", f.Name)
			continue
		}
		n.fill(s, parsed.tree, &at, seen, f.Text)
	}
	if !resolved {
		s.doubt = fmt.Sprintf("the included %q is not at hand", cut(pattern, 40))
	}
}

// cut shortens what is quoted in a message.
func cut(s string, runes int) string {
	s = oneLine(s[:min(len(s), (runes+1)*utf8.UTFMax)])
	if r := []rune(s); len(r) > runes {
		return string(r[:runes-1]) + "…"
	}
	return s
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// newListen reads one listen directive of text.
func newListen(text string, d directive, at statement) *nginxListen {
	l := &nginxListen{at: at, params: d.args[1:]}
	for _, w := range d.at.words {
		l.words = append(l.words, oneLine(text[w.start:w.end]))
	}
	l.text = strings.Join(l.words, " ") + ";"
	for _, p := range l.params {
		// http3 is what quic was called before nginx 1.25.
		l.udp = l.udp || p == "udp" || p == "quic" || p == "http3"
		l.dual = l.dual || p == "ipv6only=off"
		l.defaults = l.defaults || isDefault(p)
		l.optioned = l.optioned || isSocketOption(p)
		l.reuseport = l.reuseport || p == "reuseport"
	}
	arg := d.args[0]
	if strings.HasPrefix(arg, "unix:") {
		l.address, l.family = arg, Unix
		return l
	}
	host, port := arg, "80"
	if strings.HasPrefix(arg, "[") {
		if i := strings.IndexByte(arg, ']'); i > 0 {
			host = arg[:i+1]
			if rest, ok := strings.CutPrefix(arg[i+1:], ":"); ok {
				port = rest
			} else if arg[i+1:] != "" {
				host = arg
			}
		}
	} else if isVariable(arg) {
		host, port = "", arg
		l.doubt = fmt.Sprintf("%q may hold an address", cut(arg, 40))
	} else if i := strings.IndexByte(arg, ':'); i > 0 {
		host, port = arg[:i], arg[i+1:]
	} else if _, _, ok := portRange(arg); ok {
		host, port = "", arg
	}
	var ok bool
	if l.low, l.hi, ok = portRange(port); !ok && !isVariable(port) {
		l.address = arg
		return l
	}
	l.address, l.port = host, port
	switch bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"); {
	case host == "" || host == "*" || l.zero():
		l.family, l.wildcard = IPv4, true
	case host == "localhost":
		l.family = Loopback
	default:
		addr, err := netip.ParseAddr(bare)
		switch {
		case err != nil || addr.Is4() == (bare != host) || addr.Is4In6() || addr.Zone() != "":
			return l
		case addr.IsLoopback():
			l.family = Loopback
		case addr.Is4():
			l.family, l.wildcard = IPv4, addr.IsUnspecified()
		default:
			l.family, l.wildcard = IPv6, addr.IsUnspecified()
		}
	}
	return l
}

// isVariable reports whether s is ${NAME} or $NAME and nothing else.
func isVariable(s string) bool {
	name, ok := strings.CutPrefix(s, "$")
	if inner, braces := strings.CutPrefix(name, "{"); braces {
		name, ok = strings.CutSuffix(inner, "}")
	}
	for _, c := range []byte(name) {
		if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return ok && name != ""
}

func portRange(s string) (low, hi int, ok bool) {
	first, last, both := strings.Cut(s, "-")
	if !both {
		last = first
	}
	for _, p := range []struct {
		text string
		to   *int
	}{{first, &low}, {last, &hi}} {
		for _, c := range []byte(p.text) {
			if c < '0' || c > '9' {
				return 0, 0, false
			}
		}
		v, err := strconv.Atoi(p.text)
		if err != nil || v < 1 || v > 65535 {
			return 0, 0, false
		}
		*p.to = v
	}
	return low, hi, low <= hi
}

// meets reports whether a and b share a port.
func (l *nginxListen) meets(o *nginxListen) bool {
	if l.udp != o.udp || l.family == Unix || o.family == Unix {
		return false
	}
	if l.low == 0 || o.low == 0 {
		return l.port == o.port
	}
	return l.low <= o.hi && o.low <= l.hi
}

// zero reports whether the address is 0, a host name for nginx. The C library makes it 0.0.0.0, but glibc only where an
// interface other than lo has an IPv4 address, or none has an IPv6 one; elsewhere nginx exits.
func (l *nginxListen) zero() bool { return l.address == "0" && strings.Contains(l.words[1], ":") }

func (l *nginxListen) anyIPv6() bool { return l.family == IPv6 && l.wildcard }

func isDefault(param string) bool { return param == "default_server" || param == "default" }

// isSocketOption reports whether nginx accepts a parameter only once for an address and port; a second time it exits
// with "duplicate listen options".
func isSocketOption(param string) bool {
	name, _, _ := strings.Cut(param, "=")
	switch name {
	case "setfib", "fastopen", "backlog", "rcvbuf", "sndbuf", "accept_filter", "deferred", "bind", "ipv6only",
		"multipath", "reuseport", "so_keepalive":
		return true
	}
	return false
}

// judge returns the listeners of one server.
func (n *nginx) judge(s *nginxServer) []Listener {
	name := n.files[s.file].Name
	if len(s.listens) == 0 {
		return []Listener{n.judgeSilent(s)}
	}
	for _, l := range s.listens {
		if l.family == IPv6 {
			s.byPort = append(s.byPort, l)
		}
	}
	slices.SortFunc(s.byPort, func(a, b *nginxListen) int { return cmp.Compare(a.low, b.low) })
	out := make([]Listener, 0, len(s.listens))
	for i, l := range s.listens {
		r := Listener{
			Program: "nginx", File: name, Text: l.text,
			Address: l.address, Port: l.port, UDP: l.udp, Family: l.family,
		}
		r.Line, r.Column = n.position(s.file, l.at)
		if r.Doubt = l.doubt; r.Doubt == "" && s.doubt != "" {
			r.Doubt = s.doubt
		}
		n.judgeListen(s, i, &r)
		if r.Family == Unknown && r.Doubt == "" {
			r.Doubt = "the address is a name, a variable or malformed"
		}
		out = append(out, r)
	}
	return out
}

// judgeSilent judges a server without any listen.
func (n *nginx) judgeSilent(s *nginxServer) Listener {
	r := Listener{Program: "nginx", File: n.files[s.file].Name, Text: "server", Doubt: s.doubt}
	r.Line, r.Column = n.position(s.file, s.at)
	if s.context == "stream" || s.context == "mail" {
		r.Doubt = `nginx exits: no "listen" is defined`
		return r
	}
	r.Port, r.Family = "80", IPv4
	implied := &nginxListen{port: "80", low: 80, hi: 80, family: IPv4, wildcard: true}
	beside := false
	for _, o := range n.listens {
		if !o.anyIPv6() || !o.meets(implied) {
			continue
		}
		if o.dual && !n.reusePort(implied) {
			n.conflict(s, o, &r)
			return r
		}
		beside = true
	}
	r.Fault, r.Reason = IPv4Only, "binds 0.0.0.0 only (port 80 as root, else 8000)"
	n.add(s, s.at.end, "listen 80; listen [::]:80;", &r)
	if r.Doubt == "" && !s.http {
		r.Doubt = "it may be a stream or mail server"
	}
	if r.Doubt == "" && s.refuses && beside {
		r.Doubt = refusesDoubt
	}
	return r
}

// judgeListen sets Family, Fault, Reason and Fix of listener r, which is listen number i of server s.
func (n *nginx) judgeListen(s *nginxServer, i int, r *Listener) {
	l := s.listens[i]
	var dual *nginxListen // the wildcard socket of this port that takes IPv4 too
	var taken, owned, optioned bool
	beside := 0 // IPv6 listens of the port, of all servers
	for _, o := range n.listens {
		if o == l || !o.meets(l) {
			continue
		}
		if o.anyIPv6() {
			beside++
			if o.dual && (dual == nil || dual.file != s.file) {
				dual = o
			}
			owned = owned || o.defaults
			optioned = optioned || o.optioned
		}
		// nginx then binds the wildcard only.
		taken = taken || o.file == s.file && o.family == IPv4 && o.wildcard && !l.wildcard && !l.optioned
	}
	switch {
	case l.anyIPv6() && (dual != nil || l.dual):
		r.Family = Dual
		return
	case l.family != IPv4 && (l.family != Loopback || l.address == "localhost" || l.address[0] == '['):
		return
	case dual != nil && !taken && !n.reusePort(l):
		n.conflict(s, dual, r)
		return
	case l.family == Loopback:
		return
	}

	var wild, exact []*nginxListen // this server's IPv6 listens of the port
	once := true
	for j, o := range s.listens {
		switch {
		case j == i || !o.meets(l):
		case o.anyIPv6():
			wild = append(wild, o)
		case o.family == IPv6:
			exact = append(exact, o)
		case o.family == IPv4 && o.wildcard && j < i:
			once = false
		case o.family == Unknown && r.Doubt == "":
			r.Doubt = fmt.Sprintf("%q may be IPv6", cut(o.text, 40))
		}
	}
	switch {
	case l.wildcard && s.covers(l, true), taken && s.covers(l, false):
		if l.zero() && r.Doubt == "" {
			r.Doubt = zeroExits
		}
		return
	case len(exact) > 0 && r.Doubt == "":
		r.Doubt = fmt.Sprintf("%q may be the one that matters", cut(exact[0].text, 40))
	}
	r.Fault = IPv4Only
	if !l.wildcard {
		if r.Reason = "binds an IPv4 address only"; !taken {
			r.Reason += "; where the pod lacks it, nginx exits"
		}
		r.Advice = "give an IPv6 address"
		if r.Doubt == "" && strings.HasPrefix(l.address, "169.254.") {
			r.Doubt = "a link-local address is the node's own"
		}
		return
	}
	r.Reason, r.Advice = "binds 0.0.0.0 only", "listen on [::] for the same ports"
	switch {
	case r.Doubt != "" || beside == len(wild):
	case s.refuses:
		r.Doubt = refusesDoubt
	case n.twin(s, l):
		r.Doubt = "a server of the same name has the port over IPv6"
	}
	if l.zero() {
		r.Reason += "; " + zeroExits
		return
	}
	if len(wild) > 0 || !once {
		return // nginx exits if a port of an address is there twice
	}
	fix := []string{"listen", "[::]:" + l.port}
	for j, p := range l.params {
		if name, _, _ := strings.Cut(p, "="); name == "ipv6only" || owned && isDefault(p) || optioned && isSocketOption(p) {
			continue
		}
		fix = append(fix, l.words[j+2])
	}
	n.add(s, l.at.end, strings.Join(fix, " ")+";", r)
}

// add makes a directive after offset end the way out.
func (n *nginx) add(s *nginxServer, end int, directive string, r *Listener) {
	r.Advice = `add "` + cut(directive, 80) + `"`
	r.Edits = []Edit{addLine(n.files[s.file], end, directive)}
}

const (
	refusesDoubt = "the server only refuses, and another one has the port over IPv6"
	zeroExits    = "where the pod has no IPv4 address, nginx with glibc exits"
)

// twin reports whether another server with a name of s listens on a port of l over IPv6: people write one server for each family.
func (n *nginx) twin(s *nginxServer, l *nginxListen) bool {
	if n.named == nil {
		n.named = map[string][]*nginxServer{}
		for _, o := range n.servers {
			for _, name := range o.names {
				n.named[name] = append(n.named[name], o)
			}
		}
	}
	return slices.ContainsFunc(s.names, func(name string) bool {
		return slices.ContainsFunc(n.named[name], func(o *nginxServer) bool {
			return o != s && slices.ContainsFunc(o.listens, func(ol *nginxListen) bool { return ol.anyIPv6() && ol.meets(l) }) &&
				!slices.ContainsFunc(o.listens, func(ol *nginxListen) bool { return ol.family == IPv4 && ol.meets(l) })
		})
	})
}

func serverNames(server []directive) []string {
	var out []string
	for _, d := range server {
		if d.name == "server_name" {
			out = append(out, d.args...)
		}
	}
	if out == nil {
		return []string{""}
	}
	return out[:min(len(out), maxNames)]
}

// reusePort reports whether both the socket of l, which is IPv4, and the IPv6 wildcard socket of its port have
// SO_REUSEPORT; then both bind. One listen with "reuseport" is enough for all of the same address.
func (n *nginx) reusePort(l *nginxListen) bool {
	four, six := l.reuseport, false
	for _, o := range n.listens {
		if !o.reuseport || !o.meets(l) {
			continue
		}
		six = six || o.anyIPv6()
		four = four || o.family == l.family && o.wildcard == l.wildcard && (l.wildcard || o.address == l.address)
	}
	return four && six
}

// conflict sets the fault of r, an IPv4 listener of s that meets the socket dual.
func (n *nginx) conflict(s *nginxServer, dual *nginxListen, r *Listener) {
	r.Fault, r.Advice = Conflict, "remove one of the two"
	r.Reason = fmt.Sprintf("cannot bind beside %q, which takes IPv4 too: nginx exits", cut(dual.text, 40))
	if r.Doubt == "" && dual.file != s.file {
		r.Doubt = fmt.Sprintf("nginx may not load %q with it", n.files[dual.file].Name)
	}
}

// covers reports whether the IPv6 listens of s, or its wildcards alone, have every port of l.
func (s *nginxServer) covers(l *nginxListen, wildcards bool) bool {
	port, met := l.low, false
	for _, o := range s.byPort {
		if !o.meets(l) || wildcards && !o.wildcard {
			continue
		}
		met = true
		if o.low <= port && port <= o.hi {
			port = o.hi + 1
		}
	}
	return met && (l.low == 0 || port > l.hi)
}

// refuses reports whether an http server takes any name and answers each request with an error. A return of the server
// itself comes before its locations.
func refuses(server []directive) bool {
	refused := false
	for _, d := range server {
		switch {
		case d.at.block, d.name == "rewrite", d.name == "error_page", d.name == "include", isPlaceholder(d.name),
			strings.Contains(d.name, "_by_lua"):
			return false
		case d.name == "server_name" && slices.ContainsFunc(d.args, func(a string) bool { return a != "_" && a != "" }):
			return false
		case d.name == "return":
			if len(d.args) == 0 || len(d.args[0]) != 3 || d.args[0][0] != '4' {
				return false
			}
			refused = true
		}
	}
	return refused
}

// loopbackOnly reports whether the access rules of a server refuse everybody but its own machine, in all its locations.
func loopbackOnly(server []directive) bool {
	private, _ := access(server)
	locations := 0
	return everyLocation(server, private, &locations) && (locations > 0 || private)
}

func everyLocation(block []directive, inherited bool, locations *int) bool {
	for _, d := range block {
		if d.name != "location" || !d.at.block {
			continue
		}
		*locations++
		private := inherited
		if own, rules := access(d.block); rules > 0 {
			private = own
		}
		if !private || !everyLocation(d.block, private, locations) {
			return false
		}
	}
	return true
}

// access reads allow and deny of one level: whether only loopback addresses get in, and the number of rules.
func access(block []directive) (private bool, rules int) {
	open := false
	for _, d := range block {
		if len(d.args) == 0 {
			continue
		}
		switch d.name {
		case "deny":
			rules++
			private = private || d.args[0] == "all"
		case "allow":
			rules++
			a := d.args[0]
			open = open || !(a == "localhost" || a == "::1" || a == "unix:" || strings.HasPrefix(a, "127."))
		}
	}
	return private && !open, rules
}

func (n *nginx) position(file int, at statement) (line, column int) {
	offset := at.words[0].start
	f := n.parse(file)
	if f.lines == nil {
		f.lines = lineStarts(n.files[file].Text)
	}
	lines := f.lines
	line = sort.SearchInts(lines, offset+1)
	return line, 1 + offset - lines[line-1]
}

// nginxCases are the forms that people meet; e2e/listen/nginx_test.go has many more, with their conflicts.
func nginxCases() []Case {
	var out []Case
	for _, c := range []struct {
		listen string
		binds  Family
	}{
		{"listen 80;", IPv4}, {"listen *:80;", IPv4}, {"listen 0.0.0.0:80 default_server;", IPv4}, {"listen 80; # listen [::]:80;\n", IPv4}, {"", IPv4},
		{"listen 80; listen [::]:80;", Dual}, {"listen [::]:80 ipv6only=off;", Dual}, {"listen [::]:80;", IPv6},
		{"listen 127.0.0.1:80;", Loopback}, {"listen 80; listen [::]:80 ipv6only=off;", Unknown},
	} {
		out = append(out, Case{File: "nginx.conf", Config: "http { server { " + c.listen + " location / { return 204; } } }\n", Port: "80", Binds: c.binds})
	}
	return out
}
