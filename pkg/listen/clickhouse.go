package listen

import (
	"encoding/xml"
	"io"
	"strings"
)

// ClickHouse opens a socket for each listen_host; that of :: serves both families. Files of config.d are merged, and the
// official image has one with :: and 0.0.0.0, so one file alone proves nothing.
//
// Source: programs/server/config.xml, listen_host; docker/server/docker_related_config.xml.

const clickhouseDoubt = "another file of config.d has ::"

func clickhouseFile(f File) []Listener {
	hosts, ok := clickhouseXML(f)
	if strings.HasSuffix(f.Name, ".yaml") || strings.HasSuffix(f.Name, ".yml") {
		hosts, ok = clickhouseYAML(f)
	}
	if !ok || len(hosts) == 0 || len(hosts) > maxAddresses {
		return nil
	}
	var texts []string
	for _, h := range hosts {
		texts = append(texts, h.text)
	}
	t := stack{IPv4, Dual, Unknown, Unknown}.together(texts)
	l := at(f, hosts[0].start, Listener{Text: "listen_host " + strings.Join(texts, ", ")})
	edit := Edit{f.Name, hosts[0].start, hosts[0].end, "::"}
	if f.Text[edit.Start:edit.End] != hosts[0].text || !strings.HasSuffix(f.Name, ".xml") {
		edit.New = `"::"`
	}
	l = t.in(l, `use "listen_host ::"`, []Edit{edit})
	if l.Fault != None {
		if len(hosts) > 1 {
			l.Edits = nil // two of :: cannot be
		}
		l.Doubt = clickhouseDoubt
	}
	return []Listener{l}
}

// clickhouseXML returns the texts of the listen_host elements below the root.
func clickhouseXML(f File) ([]span, bool) {
	d := xml.NewDecoder(strings.NewReader(f.Text))
	d.Strict = true
	var out []span
	depth := 0
	inside := false
	for {
		start := int(d.InputOffset())
		token, err := d.RawToken()
		if err != nil {
			return out, err == io.EOF && depth == 0
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth == 0 && t.Name.Local != "clickhouse" && t.Name.Local != "yandex" {
				return nil, false
			}
			inside = depth == 1 && t.Name.Local == "listen_host"
			depth++
		case xml.EndElement:
			depth--
			inside = false
		case xml.CharData:
			if text := strings.TrimSpace(string(t)); inside && text != "" {
				i := strings.Index(f.Text[start:d.InputOffset()], text)
				if i < 0 || len(out) > maxAddresses {
					return nil, false // written with an entity
				}
				out = append(out, span{text, start + i, start + i + len(text)})
			}
		}
	}
}

func clickhouseYAML(f File) ([]span, bool) {
	documents := readYAML(f)
	if len(documents) != 1 {
		return nil, false
	}
	root := documents[0]
	if root.get("clickhouse").exists() {
		root = root.get("clickhouse")
	}
	var out []span
	for _, n := range root.get("listen_host").items() {
		e := n.replace("")
		if len(e) != 1 {
			return nil, false
		}
		out = append(out, span{n.str(), e[0].Start, e[0].End})
	}
	return out, true
}

func clickhouseCases() []Case {
	x := func(body string, binds Family) Case {
		return Case{File: "listen.xml", Config: "<clickhouse>\n  " + body + "\n</clickhouse>\n", Port: "8123", Binds: binds, Doubt: binds == IPv4, NotRun: notDebian}
	}
	y := func(body string, binds Family) Case {
		return Case{File: "listen.yaml", Config: body + "\n", Port: "8123", Binds: binds, Doubt: binds == IPv4, NotRun: notDebian}
	}
	pair := x("<listen_host>0.0.0.0</listen_host>\n  <listen_host>::1</listen_host>", IPv4)
	pair.NoFix = true
	return []Case{
		x("<listen_host>0.0.0.0</listen_host>", IPv4),
		x("<!-- <listen_host>::</listen_host> -->\n  <listen_host> 0.0.0.0 </listen_host>", IPv4),
		pair,
		x("<listen_host>::</listen_host>\n  <listen_host>0.0.0.0</listen_host>\n  <listen_try>1</listen_try>", Dual),
		x("<listen_host>::</listen_host>", Dual),
		x("<listen_host>127.0.0.1</listen_host>\n  <listen_host>::1</listen_host>", Loopback),
		x("<other><listen_host>0.0.0.0</listen_host></other>", Unknown),
		x(`<listen_host from_env="HOST"/>`, Unknown),
		y("listen_host: 0.0.0.0", IPv4),
		y("clickhouse:\n  listen_host: '0.0.0.0'", IPv4),
		y("listen_host:\n  - \"::\"\n  - 0.0.0.0", Dual),
	}
}
