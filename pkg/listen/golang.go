package listen

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
)

// Go opens one socket for both families for "0.0.0.0:80", ":80" and "[::]:80", unless the program asks for "tcp4". The programs of
// this file ask for it, or can be told to; those of addressed_rows.go do not.
//
// Source: Go 1.26, net/ipsock_posix.go, favoriteAddrFamily.

// victoriaPorts are VictoriaMetrics and its kin with their default ports. They listen and dial with "tcp4" unless -enableTCP6 is
// given.
//
// Source: VictoriaMetrics, lib/netutil/tcplistener.go and the flag httpListenAddr of each app; 1.79.5 was run.
var victoriaPorts = map[string]string{
	"victoria-metrics": "8428", "vmagent": "8429", "vmalert": "8880", "vmauth": "8427", "vminsert": "8480", "vmselect": "8481", "vmstorage": "8482",
	"victoria-logs": "9428", "vlagent": "9429", "victoria-traces": "10428",
}

func victoriaNames() (names, images []string) {
	for name := range victoriaPorts {
		images = append(images, name)
		names = append(names, name, name+"-prod")
	}
	slices.Sort(names)
	slices.Sort(images)
	return names, images
}

func victoriaRun(c *Command) []Listener {
	name := c.Program
	if name == "" {
		name = c.Image
	}
	name = strings.TrimSuffix(name, "-prod")
	on, doubt, environment, prefix := "", "", "", ""
	for _, w := range c.Args {
		option, value, ok := strings.Cut(strings.TrimLeft(w.Text, "-"), "=")
		switch {
		case strings.HasPrefix(w.Text, "$"):
			doubt = fmt.Sprintf("%q has -enableTCP6", oneLine(w.Text))
		case !strings.HasPrefix(w.Text, "-"):
		case option == "enableTCP6" && !ok:
			on = "true"
		case option == "enableTCP6":
			on = value
		case option == "envflag.enable" && !ok:
			environment = "true"
		case option == "envflag.enable":
			environment = value
		case option == "envflag.prefix":
			prefix = value
		case option == "dryRun" || option == "version":
			return nil
		}
	}
	if on == "" && environment != "" {
		switch w, set := c.Var(prefix + "enableTCP6"); {
		case w != nil:
			on = w.Text
		case set:
			return nil
		default:
			doubt = "enableTCP6 is set elsewhere, as by envFrom"
		}
	}
	var place *Word
	text, host, port, family := name, "", victoriaPorts[name], Dual
	for _, f := range c.Flags("-httpListenAddr", "--httpListenAddr") {
		host, port, family = golang.address(f.Text)
		place, text = f.Word, f.String()
		break // the first of several has the main port
	}
	if place == nil {
		place = c.Exec
	}
	if place == nil {
		return nil
	}
	switch strings.ToLower(on) {
	case "true", "t", "1":
		on = "true"
	case "", "false", "f", "0":
		if family == Dual {
			family = IPv4
		}
	default:
		return nil
	}
	l := place.Listener(text, host, port, family)
	switch {
	case l.Fault == None:
	case isConcrete(host):
		l.Advice = "give no address"
		if on != "true" {
			l.Advice += ` and add "-enableTCP6"`
		}
	default:
		l.Reason, l.Doubt, l.Advice = "binds and dials IPv4 only", doubt, `add "-enableTCP6"`
	}
	return []Listener{l}
}

func victoriaCases() []Case {
	const data = " -storageDataPath=$DIR/data"
	return []Case{
		{Config: "victoria-metrics" + data, Port: "8428", Binds: IPv4, NoFix: true},
		{Config: "victoria-metrics -httpListenAddr=:8430" + data, Port: "8430", Binds: IPv4, NoFix: true},
		{Config: "victoria-metrics --httpListenAddr 0.0.0.0:8431 -enableTCP6=false" + data, Port: "8431", Binds: IPv4, NoFix: true},
		{Config: "victoria-metrics -enableTCP6" + data, Port: "8428", Binds: Dual},
		{Config: "victoria-metrics -httpListenAddr=0.0.0.0:8432 --enableTCP6=true" + data, Port: "8432", Binds: Dual},
		{Config: "victoria-metrics -httpListenAddr=127.0.0.1:8433" + data, Port: "8433", Binds: Loopback},
		{Config: "env enableTCP6=true victoria-metrics" + data, Port: "8428", Binds: IPv4, NoFix: true},
		{Config: "env VM_enableTCP6=true victoria-metrics -envflag.enable -envflag.prefix=VM_" + data, Port: "8428", Binds: Dual},
		{Config: "victoria-metrics -envflag.enable" + data, Port: "8428", Binds: IPv4, NoFix: true, Doubt: true},
		{Config: "victoria-metrics -dryRun", Port: "8428", NotRun: "it serves nothing"},
		{Config: "vmagent-prod -remoteWrite.url=http://vm:8428/api/v1/write", Port: "8429", Binds: IPv4, NoFix: true, NotRun: "not in Debian"},
		{Config: "victoria-metrics $EXTRA_ARGS", Port: "8428", Binds: IPv4, NoFix: true, Doubt: true, NotRun: "a variable"},
	}
}

// Vault and OpenBao listen with "tcp4" if an address of a TCP listener starts with "0.0.0.0:", else with "tcp". Their cluster
// listener always asks for "tcp".
//
// Source: Vault, command/server/listener_tcp.go.
func vaultFiles(f File) []Listener {
	var out []Listener
	if strings.HasPrefix(strings.TrimSpace(f.Text), "{") {
		for _, doc := range readYAML(f) {
			if !vaultKey(func(key string) bool { return doc.get(key).exists() }) {
				continue
			}
			for _, l := range doc.get("listener").items() {
				for _, tcp := range l.get("tcp").items() {
					for _, key := range []string{"address", "cluster_address"} {
						if a := tcp.get(key); a.str() != "" && len(out) < maxAddresses {
							out = append(out, vaultListener(at(f, a.offset(), Listener{Text: key + ": " + a.str()}), key, a.str(), a.replace(vaultForm(a.str()))))
						}
					}
				}
			}
		}
		return beside(out)
	}
	root := readHCL(f)
	if !vaultKey(func(key string) bool { return len(hclItems(root, key)) > 0 }) {
		return nil
	}
	for _, tcp := range hclItems(root, "listener", "tcp") {
		for _, key := range []string{"address", "cluster_address"} {
			for _, item := range hclItems(tcp.Val, key) {
				if value, offset, ok := hclString(f, item); ok && len(out) < maxAddresses {
					edits := []Edit{{f.Name, offset, offset + len(value), vaultForm(value)}}
					out = append(out, vaultListener(at(f, item.Pos().Offset, Listener{Text: key + ` = "` + value + `"`}), key, value, edits))
				}
			}
		}
	}
	return beside(out)
}

// vaultKey reports whether a configuration is one of Vault, its agent or its proxy. Boundary has the same listeners.
func vaultKey(has func(string) bool) bool {
	return slices.ContainsFunc([]string{"storage", "backend", "ui", "seal", "disable_mlock", "api_addr", "cluster_addr", "auto_auth", "vault", "service_registration"}, has) && !has("controller") && !has("worker")
}

func vaultForm(address string) string {
	return "[::]" + strings.TrimPrefix(address, "0.0.0.0")
}

func vaultListener(l Listener, key, value string, edits []Edit) Listener {
	l.Text = oneLine(l.Text)
	l.Address, l.Port, l.Family = golang.address(value)
	switch {
	case isConcrete(l.Address):
		l.Fault, l.Reason, l.Advice = IPv4Only, binds0(l.Address), "give an IPv6 address or [::]"
	case key == "address" && strings.HasPrefix(value, "0.0.0.0:"):
		l.Family, l.Fault, l.Reason = IPv4, IPv4Only, binds0(value)
		l.Advice, l.Edits = `use "`+vaultForm(value)+`"`, edits
	}
	return l
}

func vaultRun(c *Command) []Listener {
	var out []Listener
	dev := c.Has("-dev", "--dev") || len(c.Args) == 0 && c.Program == "" // what the image runs without arguments
	judge := func(w *Word, text string) {
		l := vaultListener(w.Listener(text, "", "", Unknown), "address", w.Text, w.Replace(0, len(w.Text), vaultForm(w.Text)))
		out = append(out, l)
	}
	flags := c.Flags("-dev-listen-address", "--dev-listen-address")
	switch w, set := c.Var("VAULT_DEV_LISTEN_ADDRESS"); {
	case !dev:
	case len(flags) > 0:
		f := flags[len(flags)-1]
		judge(f.Word, f.String())
	case w != nil:
		judge(w, "VAULT_DEV_LISTEN_ADDRESS="+w.Text)
	case !set && c.Program == "" && c.Exec != nil:
		// The entrypoint's default.
		l := c.Exec.Listener(c.Image, "0.0.0.0", "8200", IPv4)
		l.Doubt = "the image is not Vault's own" // Bitnami's has the same name and another entrypoint
		l.Advice = `set VAULT_DEV_LISTEN_ADDRESS to "[::]:8200"`
		out = append(out, l)
	}
	for _, name := range []string{"VAULT_LOCAL_CONFIG", "BAO_LOCAL_CONFIG"} {
		if w, _ := c.Var(name); w != nil && !w.shell {
			out = append(out, vaultFiles(File{w.file, w.Text})...)
		}
	}
	return out
}

func vaultCases() []Case {
	var out []Case
	for _, c := range []struct {
		address string
		binds   Family
		nofix   bool
	}{{"0.0.0.0:8200", IPv4, false}, {"[::]:8200", Dual, false}, {":8200", Dual, false}, {"127.0.0.1:8200", Loopback, false}, {"10.1.2.3:8200", IPv4, true}} {
		const why = "not in Debian"
		out = append(out,
			Case{File: "vault.hcl", Config: "ui = true\nlistener \"tcp\" {\n  # address = \"0.0.0.0:8200\"\n  address = \"" + c.address + "\"\n  tls_disable = 1\n}\nstorage \"file\" {\n  path = \"/data\"\n}\n",
				Port: "8200", Binds: c.binds, NoFix: c.nofix, NotRun: why},
			Case{File: "local.json", Config: `{"storage": {"file": {"path": "/data"}}, "listener": [{"tcp": {"address": "` + c.address + `", "tls_disable": true}}]}`,
				Port: "8200", Binds: c.binds, NoFix: c.nofix, NotRun: why},
			Case{Config: "vault server -dev -dev-listen-address=" + c.address, Port: "8200", Binds: c.binds, NoFix: c.nofix, NotRun: why},
		)
	}
	out = append(out,
		Case{Image: "hashicorp/vault:1.18", Port: "8200", Binds: IPv4, NoFix: true, Doubt: true, NotRun: "not in Debian"},
		Case{Config: `VAULT_LOCAL_CONFIG='{"storage": {"file": {"path": "/data"}}, "listener": [{"tcp": {"address": "0.0.0.0:8200"}}]}' vault server -config=/vault/config`,
			Port: "8200", Binds: IPv4, NotRun: "not in Debian"})
	return append(out, Case{File: "extraconfig-from-values.hcl", Config: "disable_mlock = true\nlistener \"tcp\" {\n  address = \"[::]:8200\"\n  cluster_address = \"0.0.0.0:8201\"\n}\n", Port: "8201", Binds: Dual, NotRun: "not in Debian"})
}

// Loki, Mimir, Tempo, Cortex and what else is built on dskit listen on the network that server.*_listen_network names: "tcp" by
// default.
//
// Source: dskit, server/server.go.
func dskitFiles(f File) []Listener {
	var out []Listener
	for _, doc := range readYAML(f) {
		server := doc.get("server")
		if len(out) >= maxAddresses {
			break
		}
		for _, kind := range []string{"http", "grpc"} {
			network, address, port := server.get(kind+"_listen_network"), server.get(kind+"_listen_address"), server.get(kind+"_listen_port").str()
			family := golang.family(address.str())
			switch {
			case network.str() == "tcp4":
				l := network.listener(kind+"_listen_network: tcp4", address.str(), port, IPv4)
				l.Advice, l.Edits = "use tcp", network.replace("tcp")
				if isConcrete(address.str()) {
					l.Advice, l.Edits = "use tcp and give an IPv6 address, or none", nil
				}
				out = append(out, l)
			case network.str() == "unix" || network.str() == "tcp6":
			case address.exists() || port != "":
				place := address
				if !place.exists() {
					place = server.get(kind + "_listen_port")
				}
				l := place.listener(kind+"_listen_address: "+address.str(), address.str(), port, family)
				if l.Fault != None {
					l.Advice = "give an IPv6 address, or none to listen on all"
				}
				out = append(out, l)
			}
		}
	}
	return out
}

func dskitRun(c *Command) []Listener {
	var out []Listener
	for _, kind := range []string{"http", "grpc"} {
		host, port := "", ""
		for _, f := range c.Flags("-server."+kind+"-listen-port", "--server."+kind+"-listen-port") {
			port = f.Text
		}
		for _, f := range c.Flags("-server."+kind+"-listen-address", "--server."+kind+"-listen-address") {
			host = f.Text
			l := f.Listener(f.String(), host, port, golang.family(host))
			if l.Fault != None {
				l.Advice = "give an IPv6 address, or none to listen on all"
			}
			out = append(out, l)
		}
		for _, f := range c.Flags("-server."+kind+"-listen-network", "--server."+kind+"-listen-network") {
			if f.Text == "tcp4" {
				l := f.Listener(f.String(), host, port, IPv4)
				l.Advice, l.Edits = "use tcp", f.Replace(0, len(f.Text), "tcp")
				out = append(out, l)
			}
		}
	}
	return out
}

func dskitCases() []Case {
	const why = "not in Debian"
	yaml := func(more string) string {
		return "auth_enabled: false\nserver:\n  http_listen_port: 3100\n  " + more + "\ncommon:\n  path_prefix: /loki\n"
	}
	return []Case{
		{File: "loki.yaml", Config: yaml("http_listen_network: tcp4"), Port: "3100", Binds: IPv4, NotRun: why},
		{File: "loki.yaml", Config: yaml(`http_listen_network: "tcp4" # not IPv6`), Port: "3100", Binds: IPv4, NotRun: why},
		{File: "loki.yaml", Config: yaml("http_listen_network: tcp"), Port: "3100", Binds: Dual, NotRun: why},
		{File: "config.yaml", Config: yaml("http_listen_address: 0.0.0.0"), Port: "3100", Binds: Dual, NotRun: why},
		{File: "config.yaml", Config: yaml("http_listen_address: 127.0.0.1"), Port: "3100", Binds: Loopback, NotRun: why},
		{File: "mimir.yaml", Config: yaml("http_listen_address: 10.1.2.3"), Port: "3100", Binds: IPv4, NoFix: true, NotRun: why},
		{File: "tempo.yaml", Config: yaml("grpc_listen_port: 9095\n  grpc_listen_network: tcp4"), Port: "9095", Binds: IPv4, NotRun: why},
		{Config: "loki -config.file=/etc/loki/config.yaml -server.http-listen-port=3100 -server.http-listen-network=tcp4", Port: "3100", Binds: IPv4, NotRun: why},
		{Config: "mimir -server.http-listen-address=10.1.2.3", Port: "80", Binds: IPv4, NoFix: true, NotRun: why},
	}
}

// maxHCL and maxNesting bound the work of the HCL parser, which calls itself for each level.
const (
	maxHCL     = 1 << 16
	maxNesting = 100
)

// readHCL returns the items of an HCL text; nil if it cannot be parsed.
func readHCL(f File) (root ast.Node) {
	depth := 0
	for i := range len(f.Text) {
		switch f.Text[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		if depth > maxNesting {
			return nil
		}
	}
	if len(f.Text) > maxHCL {
		return nil
	}
	defer func() {
		if recover() != nil { // the parser panics on some malformed literals
			root = nil
		}
	}()
	file, err := hcl.ParseString(f.Text)
	if err != nil {
		return nil
	}
	return file.Node
}

// hclItems are the items below keys.
func hclItems(n ast.Node, keys ...string) []*ast.ObjectItem {
	var out []*ast.ObjectItem
	switch n := n.(type) {
	case *ast.ObjectType:
		return hclItems(n.List, keys...)
	case *ast.ListType:
		for _, e := range n.List {
			out = append(out, hclItems(e, keys...)...)
		}
	case *ast.ObjectList:
		for _, item := range n.Items {
			matched := len(item.Keys) > 0
			for i, k := range item.Keys {
				matched = matched && (i >= len(keys) || strings.Trim(k.Token.Text, `"`) == keys[i])
			}
			switch {
			case !matched:
			case len(item.Keys) >= len(keys):
				out = append(out, item)
			default:
				out = append(out, hclItems(item.Val, keys[len(item.Keys):]...)...)
			}
		}
	}
	return out
}

// hclString is the value of an item that is a string, and its offset in the text.
func hclString(f File, item *ast.ObjectItem) (value string, offset int, ok bool) {
	literal, ok := item.Val.(*ast.LiteralType)
	if !ok {
		return "", 0, false
	}
	text, offset := literal.Token.Text, literal.Token.Pos.Offset
	if len(text) < 2 || text[0] != '"' || strings.ContainsAny(text, "\\$\n") || !strings.HasPrefix(f.Text[min(offset, len(f.Text)):], text) {
		return "", 0, false
	}
	return text[1 : len(text)-1], offset + 1, true
}
