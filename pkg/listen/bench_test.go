package listen

import (
	"strings"
	"testing"
)

// BenchmarkReadFiles is a megabyte of each kind of text: what costs most, and what costs nothing.
func BenchmarkReadFiles(b *testing.B) {
	fill := func(text string) string { return strings.Repeat(text, 1<<20/len(text)) }
	for _, c := range []struct{ name, file, text string }{
		{"logs", "app.log", fill("2026-01-01 level=info msg=\"request served\" path=/ status=200\n")},
		{"unknown conf", "app.conf", fill("setting value # bind listen server frontend\n")},
		{"yaml", "config.yaml", fill("server:\n  address: 10.0.0.1\nlisten: [a, b]\n")},
		{"nginx", "default.conf", fill("server {\n  listen 80;\n  listen [::]:80;\n  location / { root /srv; }\n}\n")},
		{"haproxy", "haproxy.cfg", fill("frontend web\n  bind :::80 v4v6\n  default_backend app\n")},
		{"redis", "redis.conf", fill("maxmemory 1gb\nappendonly yes\nsave 60 1\n") + "bind * -::*\n"},
		{"script", "run.sh", "#!/bin/sh\n" + fill("echo gunicorn -b 0.0.0.0:80\n")[:maxScript-100]},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			for b.Loop() {
				ReadFiles([]File{{c.file, c.text}})
			}
		})
	}
}

func BenchmarkReadProcess(b *testing.B) {
	p := Process{
		Image:   "registry.example.net/shop/web:1.2.3",
		Command: []File{{"command[0]", "sh"}, {"command[1]", "-c"}, {"command[2]", "set -e; export A=b; exec gunicorn -w 4 -b [::]:8000 shop.wsgi"}},
		Env:     []Variable{{"HOST", File{"env[0].value", "shop.example.net"}, true}, {"JAVA_OPTS", File{"env[1].value", "-Xmx1g"}, true}},
	}
	for b.Loop() {
		ReadProcess(p)
	}
}
