package rules

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sixgate/sixgate/pkg/listen"
)

// readChartValues judges the values that K3s' Helm controller gives to a chart: texts of several lines are read as files that
// have the name of their key, lists of arguments and environment variables as those of a container whose image has the name of the
// chart. Values are input of templates, so nothing is certain.
func readChartValues(o *Object, all bool) []listener {
	path := Path{"spec", "valuesContent"}
	text := o.Str(path...)
	chart := o.Str("spec", "chart")
	if chart == "" {
		chart = o.Name()
	}
	var root yaml.Node
	if text == "" || len(text) > maxValues || yaml.Unmarshal([]byte(text), &root) != nil {
		return nil
	}
	v := chartValues{lines: map[string]int{}}
	v.walk(&root, "", 0)
	found := listen.ReadFiles(v.files)
	found = append(found, listen.ReadProcess(listen.Process{Image: chart[strings.LastIndexByte(chart, '/')+1:], Args: v.args, Env: v.env})...)
	var out []listener
	for _, l := range found {
		line, ok := v.lines[l.File]
		if !ok || l.Fault == listen.None && !all {
			continue
		}
		l.Line, l.Column, l.Edits = line+l.Line-1, 0, nil
		if l.Doubt == "" {
			l.Doubt = "the chart does not use the value so"
		}
		out = append(out, listener{Listener: l, rule: ruleOf(l.Program), path: path, subject: l.File})
	}
	return out
}

const (
	maxValues     = 1 << 18
	maxValueDepth = 50
)

type chartValues struct {
	files, args []listen.File
	env         []listen.Variable
	lines       map[string]int // of the first line of a text
}

func (v *chartValues) walk(n *yaml.Node, key string, depth int) {
	if depth > maxValueDepth {
		return
	}
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Style == yaml.LiteralStyle {
			v.files = append(v.files, v.file(key, n.Value, n.Line+1))
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, value := n.Content[i].Value, n.Content[i+1]
			if slices.Contains([]string{"env", "extraEnv", "extraEnvVars", "environment"}, k) {
				v.variables(value)
			}
			v.walk(value, k, depth+1)
		}
	case yaml.SequenceNode:
		for _, e := range n.Content {
			if e.Kind == yaml.ScalarNode && slices.Contains([]string{"args", "extraArgs", "additionalArguments", "arguments", "extraFlags"}, key) {
				v.args = append(v.args, v.file("argument", e.Value, e.Line))
			}
			v.walk(e, key, depth+1)
		}
	case yaml.DocumentNode:
		for _, e := range n.Content {
			v.walk(e, key, depth+1)
		}
	}
}

// variables reads a list of {name, value}, or a mapping.
func (v *chartValues) variables(n *yaml.Node) {
	add := func(name string, value *yaml.Node) {
		if value != nil && value.Kind == yaml.ScalarNode {
			v.env = append(v.env, listen.Variable{Name: name, Known: true, Value: v.file(name, value.Value, value.Line)})
		}
	}
	for i, e := range n.Content {
		switch {
		case n.Kind == yaml.MappingNode && i%2 == 0 && i+1 < len(n.Content):
			add(e.Value, n.Content[i+1])
		case n.Kind == yaml.SequenceNode && e.Kind == yaml.MappingNode:
			var name string
			var value *yaml.Node
			for j := 0; j+1 < len(e.Content); j += 2 {
				switch e.Content[j].Value {
				case "name":
					name = e.Content[j+1].Value
				case "value":
					value = e.Content[j+1]
				}
			}
			add(name, value)
		}
	}
}

// file gives a text a name that no other one has; pkg/listen goes by its beginning or end.
func (v *chartValues) file(name, text string, line int) listen.File {
	key := name
	for n := len(v.lines); ; n++ {
		if _, taken := v.lines[name]; !taken {
			break
		}
		name = fmt.Sprintf("%d-%s", n, key)
	}
	v.lines[name] = line
	return listen.File{Name: name, Text: text}
}
