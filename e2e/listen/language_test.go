//go:build e2e

package listen_test

import (
	"os"
	"path/filepath"
	"testing"
)

// The applications that the servers need. The little server.js takes its host as many programs do: from --host or HOST.
var languageFiles = map[string]string{
	"app.py": `
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return []

application = app

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})
`,
	"flaskapp.py": `
import flask
app = flask.Flask("app")
`,
	"manage.py": `
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
`,
	"site_settings.py": `
SECRET_KEY = "test"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "site_urls"
INSTALLED_APPS = []
MIDDLEWARE = []
DATABASES = {}
`,
	"site_urls.py": "urlpatterns = []\n",
	"config.ru":    "run ->(env) { [200, {}, []] }\n",
	"server.js": `
const args = process.argv.slice(2)
const option = name => args.includes(name) ? args[args.indexOf(name) + 1] : undefined
require("http").createServer((req, res) => res.end()).listen(option("--port") || process.env.PORT, option("--host") || process.env.HOST)
`,
}

func languageServers() []server {
	prepare := func(t *testing.T, dir string) {
		// Debian's modules are for Debian's Python, which need not be the first in PATH.
		t.Setenv("PATH", "/usr/bin:"+os.Getenv("PATH"))
		for name, text := range languageFiles {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	modules := []string{"PYTHONPATH=.", "PYTHONDONTWRITEBYTECODE=1"}
	out := []server{
		{program: "gunicorn", packages: []string{"gunicorn"}, binary: "/usr/bin/gunicorn",
			command: func(_, file string) []string { return []string{"gunicorn", "-c", file, "app:app"} }},
		{program: "uvicorn", packages: []string{"uvicorn"}, binary: "/usr/bin/uvicorn"},
		{program: "Hypercorn", packages: []string{"python3-hypercorn"}, binary: "/usr/bin/hypercorn", version: []string{"dpkg-query", "-W", "python3-hypercorn"}},
		{program: "Daphne", packages: []string{"daphne"}, binary: "/usr/bin/daphne", version: []string{"dpkg-query", "-W", "daphne"}},
		{program: "Django", packages: []string{"python3-django"}, binary: "/usr/bin/django-admin"},
		{program: "Flask", packages: []string{"python3-flask"}, binary: "/usr/bin/flask", version: []string{"dpkg-query", "-W", "python3-flask"}, env: []string{"FLASK_APP=flaskapp"}},
		{program: "Waitress", packages: []string{"python3-waitress"}, binary: "/usr/bin/waitress-serve", version: []string{"dpkg-query", "-W", "python3-waitress"}},
		{program: "uWSGI", packages: []string{"uwsgi-core", "uwsgi-plugin-python3"}, binary: "/usr/bin/uwsgi_python3", version: []string{"dpkg-query", "-W", "uwsgi-core"},
			command: func(_, file string) []string { return []string{"uwsgi", "--ini", file} }},
		{program: "Python http.server", packages: []string{"python3"}, binary: "/usr/bin/python3"},
		{program: "Puma", packages: []string{"puma"}, binary: "/usr/bin/puma",
			command: func(_, file string) []string { return []string{"puma", "-C", file, "config.ru"} }},
		{program: "Node.js program", packages: []string{"nodejs"}, binary: "node"},
	}
	for i := range out {
		out[i].prepare, out[i].env = prepare, append(out[i].env, modules...)
	}
	return out
}
