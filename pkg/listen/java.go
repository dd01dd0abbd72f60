package listen

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// A JVM started with -Djava.net.preferIPv4Stack=true opens IPv4 sockets only, whatever address the program asks for, and dials
// IPv4 only. The last one counts; the order is JAVA_TOOL_OPTIONS, JDK_JAVA_OPTIONS, the command line, _JAVA_OPTIONS.
//
// Source: OpenJDK 17.0.15 was run with each form.
const preferIPv4 = "-Djava.net.preferIPv4Stack"

// startVariables are the variables that a start script or the entrypoint of an image puts on the JVM's command line.
//
// Source: the scripts named by the keys, as their projects ship them.
var startVariables = map[string][]string{
	"catalina.sh": {"JAVA_OPTS", "CATALINA_OPTS"}, "tomcat": {"JAVA_OPTS", "CATALINA_OPTS"},
	"zkServer.sh": {"SERVER_JVMFLAGS", "JVMFLAGS"}, "zookeeper": {"SERVER_JVMFLAGS", "JVMFLAGS"},
	"kafka-server-start.sh": {"KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_OPTS"}, "kafka-server-start": {"KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_OPTS"},
	"kafka": {"KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_OPTS"}, "cp-kafka": {"KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_OPTS"},
	"elasticsearch": {"ES_JAVA_OPTS"}, "opensearch": {"OPENSEARCH_JAVA_OPTS"}, "logstash": {"LS_JAVA_OPTS"},
	"cassandra": {"JVM_EXTRA_OPTS"}, "solr": {"SOLR_OPTS"}, "jenkins": {"JAVA_OPTS"},
	"kc.sh": {"JAVA_OPTS", "JAVA_OPTS_APPEND"}, "keycloak": {"JAVA_OPTS", "JAVA_OPTS_APPEND"},
	"standalone.sh": {"JAVA_OPTS"}, "wildfly": {"JAVA_OPTS"},
}

// A preference is one use of the property.
type preference struct {
	start, end int // of the whole option
	value      int // offset of the value
	on         bool
}

// preferences finds the uses of the property in a text; a value that is not a literal is off.
func preferences(text string) []preference {
	var out []preference
	for from := 0; ; {
		i := strings.Index(text[from:], preferIPv4)
		if i < 0 {
			return out
		}
		start := from + i
		from = start + len(preferIPv4)
		if start > 0 && isWordByte(text[start-1]) && !strings.HasSuffix(text[:start], "-J") || from < len(text) && isWordByte(text[from]) {
			continue
		}
		p := preference{start: start, end: from, value: from}
		if strings.HasPrefix(text[from:], "=") {
			from++
			p.value = from
			for from < len(text) && isWordByte(text[from]) {
				from++
			}
			p.end, p.on = from, strings.EqualFold(text[p.value:from], "true")
		}
		out = append(out, p)
	}
}

func isWordByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// javaFault completes the listener of an option: what it does is the same everywhere.
func javaFault(l Listener, doubt string) Listener {
	l.Family, l.Fault, l.Reason = IPv4, IPv4Only, "makes the JVM bind and dial IPv4 only"
	l.Doubt, l.Advice = doubt, `use "`+preferIPv4+`=false"`
	return l
}

// maxUses is how many uses of the property in one text are told about.
const maxUses = 100

func javaFiles(f File) []Listener {
	if slices.Contains([]string{".md", ".log", ".html", ".adoc", ".rst"}, path.Ext(strings.ToLower(f.Name))) {
		return nil
	}
	whole := isOptionsFile(f) || slices.Contains([]string{"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"}, f.Name) // one JVM gets all of it
	var out []Listener
	var last preference // of the whole text
	offset := 0
	for line := range strings.Lines(f.Text) {
		start := offset
		offset += len(line)
		uses := preferences(beforeComment(line))
		if len(uses) == 0 {
			continue
		}
		p := uses[len(uses)-1]
		p.start, p.value, p.end = start+p.start, start+p.value, start+p.end
		if last = p; !whole && p.on && len(out) < maxUses {
			out = append(out, javaText(f, p, "nothing starts a JVM with it"))
		}
	}
	if whole && last.on {
		doubt := ""
		if line := f.Text[1+strings.LastIndexByte(f.Text[:last.start], '\n'):]; '0' <= line[0] && line[0] <= '9' {
			doubt = "the JVM is of another version"
		}
		out = append(out, javaText(f, last, doubt))
	}
	return out
}

// javaText is the fault of an option in a file.
func javaText(f File, p preference, doubt string) Listener {
	l := javaFault(at(f, p.start, Listener{Text: f.Text[p.start:p.end]}), doubt)
	l.Edits = []Edit{{f.Name, p.value, p.end, "false"}}
	return l
}

// beforeComment is a line up to the comment in it, in any of the formats that hold options of a JVM.
func beforeComment(line string) string {
	trimmed := strings.TrimLeft(line, " \t")
	for _, mark := range []string{"#", ";", "//", "rem "} {
		if strings.HasPrefix(trimmed, mark) {
			return ""
		}
	}
	for _, mark := range []string{" #", "\t#", "<!--"} {
		line, _, _ = strings.Cut(line, mark)
	}
	return line
}

// isOptionsFile reports whether a text holds the options of a JVM, one in each line: jvm.options of Elasticsearch and Logstash
// (where 8: in front means version 8), jvm-server.options of Cassandra, an argument file of java.
func isOptionsFile(f File) bool {
	if !strings.HasSuffix(f.Name, ".options") {
		return false
	}
	for line := range strings.Lines(f.Text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if versions, option, ok := strings.Cut(line, ":"); ok && strings.Trim(versions, "0123456789-") == "" {
			line = option
		}
		if !strings.HasPrefix(line, "-") {
			return false
		}
	}
	return true
}

// javaRun reads the options of a JVM that a command is, or may start.
func javaRun(c *Command) []Listener {
	if c.Doubt != "" || !c.mentions(preferIPv4) {
		return nil // in doubt is a script: javaFiles reads it
	}
	var sources []javaSource
	other := "" // a JVM may be its child
	if c.rule != "" && c.rule != "listen-java" || c.Program == "nginx" || c.Program == "" && c.Image == "nginx" {
		other = "the program is no JVM"
	}
	add := func(doubt string, names ...string) {
		for _, name := range names {
			if w, _ := c.Var(name); w != nil {
				sources = append(sources, javaSource{w, cmp.Or(doubt, other)})
			}
		}
	}
	add("", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS")
	if c.Program == "java" {
		sources = append(sources, javaArguments(c)...)
	} else {
		known := startVariables[c.Program]
		if c.Program == "" {
			known = startVariables[c.Image]
		}
		add("", known...)
		certain := append([]string{"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"}, known...)
		last := map[string]int{}
		for i, v := range c.Env {
			last[v.Name] = i
		}
		for i, v := range c.Env {
			if v.Word != nil && last[v.Name] == i && !slices.Contains(certain, v.Name) {
				sources = append(sources, javaSource{v.Word, "no JVM gets " + oneLine(v.Name)})
			}
		}
		for _, w := range c.Args {
			sources = append(sources, javaSource{w, "the command is no JVM"})
		}
	}
	add("", "_JAVA_OPTIONS")
	var out []Listener
	for _, s := range slices.Backward(sources) {
		uses := preferences(s.Text)
		if len(uses) == 0 {
			continue
		}
		last := uses[len(uses)-1]
		if !last.on {
			if s.doubt == "" {
				break
			}
			continue
		}
		l := javaFault(s.Listener(s.Text[last.start:last.end], "", "", IPv4), s.doubt)
		l.Edits = s.Replace(last.value, last.end, "false")
		if out = append(out, l); len(out) == maxUses {
			break
		}
	}
	slices.Reverse(out)
	return out
}

// A javaSource is a text with options.
type javaSource struct {
	*Word
	doubt string
}

// javaArguments are the words before the main class; $NAME is what the variable holds.
func javaArguments(c *Command) []javaSource {
	var out []javaSource
	for i := 0; i < len(c.Args); i++ {
		w := c.Args[i]
		name, _, _ := strings.Cut(strings.Trim(w.Text, "${}()"), ":")
		switch {
		case strings.HasPrefix(w.Text, "$"):
			if v, _ := c.Var(name); v != nil {
				w = v
			}
		case w.Text == "-jar" || w.Text == "-m" || w.Text == "--module" || w.Text == "--" || !strings.HasPrefix(w.Text, "-") && !strings.HasPrefix(w.Text, "@"):
			return out
		case slices.Contains([]string{"-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-modules", "--add-opens", "--add-exports", "--add-reads", "--upgrade-module-path"}, w.Text):
			i++
			continue
		}
		out = append(out, javaSource{w, ""})
	}
	return out
}

func javaCases() []Case {
	const on, off, registry = preferIPv4 + "=true", preferIPv4 + "=false", " -m java.rmi/sun.rmi.registry.RegistryImpl 1099"
	run := func(line string, binds Family) Case {
		return Case{Config: line, Port: "1099", Binds: binds}
	}
	return []Case{
		run("java "+on+registry, IPv4),
		run("java "+preferIPv4+"=TRUE"+registry, IPv4),
		run("java "+off+registry, Dual),
		run("java "+preferIPv4+registry, Dual),
		run("java "+on+" "+off+registry, Dual),
		run("java"+registry, Dual),
		run("JAVA_TOOL_OPTIONS='-Xmx64m "+on+"' java"+registry, IPv4),
		run("_JAVA_OPTIONS="+on+" java "+off+registry, IPv4),
		run("JDK_JAVA_OPTIONS="+on+" java"+registry, IPv4),
		run("JAVA_TOOL_OPTIONS="+on+" java "+off+registry, Dual),
		run("JAVA_OPTS="+on+" java"+registry, Dual),
		run("JAVA_OPTS="+on+" java $JAVA_OPTS -jar app.jar", IPv4).notRun("a variable"),
		run("java -jar app.jar "+on, Dual).notRun("an option of the application"),
		{Config: "JAVA_TOOL_OPTIONS=" + on + " redis-server", Port: "6379", Binds: IPv4, Doubt: true, NotRun: "no JVM"},
		{Config: "SERVER_JVMFLAGS=" + on + " JVMFLAGS='-Xmx64m " + off + "' /usr/share/zookeeper/bin/zkServer.sh start-foreground $DIR/zoo.cfg", Port: "2181", Binds: Dual},
		{Config: "KAFKA_JVM_PERFORMANCE_OPTS=" + on + " KAFKA_OPTS=" + off + " kafka-server-start.sh", Port: "9092", Binds: Dual, NotRun: "not in Debian"},
		{Config: "APP_OPTS=" + on + " /app/start", Port: "8080", Binds: IPv4, Doubt: true, NotRun: "no such program"},
		{Config: "rmiregistry -J" + on + " 1099", Port: "1099", Binds: IPv4, Doubt: true},
		{Config: "SERVER_JVMFLAGS='-Xmx64m " + on + "' /usr/share/zookeeper/bin/zkServer.sh start-foreground $DIR/zoo.cfg", Port: "2181", Binds: IPv4},
		{File: "jvm.options", Config: "# IPv6 is off\n-Xmx64m\n" + on + "\n", Port: "1099", Binds: IPv4},
		{File: "jvm-server.options", Config: "-Xmx64m\n#" + on + "\n", Port: "1099", Binds: Dual},
		{File: "jvm.options", Config: "8-:" + on + "\n", Port: "1099", Binds: IPv4, Doubt: true, NotRun: "a format of Elasticsearch"},
		{File: "JAVA_TOOL_OPTIONS", Config: on, Port: "1099", Binds: IPv4},
		{File: "JAVA_OPTS", Config: "-Xmx64m " + on, Port: "8080", Binds: IPv4, Doubt: true, NotRun: "a variable"},
		{File: "setenv.sh", Config: "# " + on + "\nexport CATALINA_OPTS=\"$CATALINA_OPTS " + on + "\"\n", Port: "8080", Binds: IPv4, Doubt: true, NotRun: "a script"},
		{File: "README.md", Config: "Never use `" + on + "`.\n", Port: "8080", Binds: Dual, NotRun: "no configuration"},
	}
}

// wildflyRun: standalone.conf has the option where JAVA_OPTS is not set.
//
// Source: wildfly-core, core-feature-pack/common/src/main/resources/content/bin/standalone.conf.
func wildflyRun(c *Command) []Listener {
	if w, set := c.Var("JAVA_OPTS"); set && (w == nil || w.Text != "") || c.mentions(preferIPv4) || c.Has("--version", "--help", "-v", "-h") || c.Exec == nil {
		return nil
	}
	l := javaFault(c.Exec.Listener("standalone.sh", "", "", IPv4), "its standalone.conf is another")
	l.Advice = `set JAVA_OPTS, with "` + preferIPv4 + `=false"`
	return []Listener{l}
}

func wildflyCases() []Case {
	const why = "not in Debian"
	return []Case{
		{Image: "quay.io/wildfly/wildfly:35.0", Port: "8080", Binds: IPv4, NoFix: true, Doubt: true, NotRun: why},
		{Config: "/opt/jboss/wildfly/bin/standalone.sh -b 0.0.0.0", Port: "8080", Binds: IPv4, NoFix: true, Doubt: true, NotRun: why},
		{Config: "JAVA_OPTS=-Xmx512m /opt/jboss/wildfly/bin/standalone.sh -b 0.0.0.0", Port: "8080", Binds: Dual, NotRun: why},
	}
}

func (c Case) notRun(why string) Case {
	c.NotRun = why
	return c
}
