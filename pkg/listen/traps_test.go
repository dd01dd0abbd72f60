package listen

import (
	"fmt"
	"testing"
)

// TestTraps are texts that look like an IPv4 listener and are none, or are healthy: each stays without a fault. The numbers are
// only for reading.
func TestTraps(t *testing.T) {
	for name, f := range map[string]File{
		"Go: otel endpoint":           {"relay.yaml", "receivers:\n  otlp:\n    protocols:\n      grpc: {endpoint: \"0.0.0.0:4317\"}\nservice: {pipelines: {traces: {receivers: [otlp]}}}\n"},
		"Go: etcd":                    {"etcd.conf.yml", "listen-client-urls: http://0.0.0.0:2379\ndata-dir: /var/lib/etcd\n"},
		"Go: Corefile":                {"Corefile", ".:53 {\n  bind 0.0.0.0\n  forward . /etc/resolv.conf\n}\n"},
		"Go: traefik":                 {"traefik.yml", "entryPoints:\n  web:\n    address: \"0.0.0.0:80\"\n"},
		"Go: Caddyfile":               {"Caddyfile", "http://127.0.0.1:8080 {\n  bind 0.0.0.0\n  respond ok\n}\n"},
		"JVM: elasticsearch":          {"elasticsearch.yml", "network.host: 0.0.0.0\ncluster.name: a\n"},
		"JVM: server.xml":             {"server.xml", "<Server port=\"8005\"><Service name=\"Catalina\"><Connector port=\"8080\" address=\"0.0.0.0\"/></Service></Server>"},
		"JVM: zoo.cfg":                {"zoo.cfg", "clientPort=2181\nclientPortAddress=0.0.0.0\ndataDir=/data\n"},
		"JVM: kafka":                  {"server.properties", "broker.id=0\nlisteners=PLAINTEXT://0.0.0.0:9092\n"},
		"JVM: spring":                 {"application.properties", "server.address=0.0.0.0\nserver.port=8080\n"},
		"dual: Apache":                {"httpd.conf", "ServerRoot /usr/local/apache2\nListen 80\n<VirtualHost 0.0.0.0:80>\n</VirtualHost>\n"},
		"dual: php-fpm":               {"www.conf", "[www]\nuser = www-data\nlisten = 9000\npm = static\n"},
		"dual: Squid":                 {"squid.conf", "acl all src all\nhttp_port 3128\nhttp_access allow all\n"},
		"sibling: nginx":              {"default.conf", "server {\n listen 80;\n listen [::]:80;\n location / {}\n}\n"},
		"sibling: redis":              {"redis.conf", "bind 0.0.0.0 -::\nport 6379\nappendonly yes\n"},
		"sibling: postgresql":         {"postgresql.conf", "listen_addresses = '0.0.0.0,::'\nport = 5432\nmax_connections = 100\n"},
		"sibling: haproxy":            {"haproxy.cfg", "frontend f\n  bind *:80,:::80\n  default_backend b\nbackend b\n"},
		"sibling: clickhouse":         {"config.xml", "<clickhouse><listen_host>::</listen_host><listen_host>0.0.0.0</listen_host><listen_try>1</listen_try><http_port>8123</http_port></clickhouse>"},
		"loopback: redis":             {"redis.conf", "bind 127.0.0.1\nport 6379\nappendonly yes\n"},
		"loopback: haproxy":           {"haproxy.cfg", "frontend stats\n  bind 127.0.0.1:8404\n  stats enable\n"},
		"unix: php-fpm":               {"www.conf", "[www]\nuser = www-data\nlisten = /run/php.sock\n"},
		"CIDR: pg_hba with ::/0":      {"pg_hba.conf", "local all all trust\nhost all all 0.0.0.0/0 md5\nhost all all ::/0 md5\n"},
		"CIDR: pg_hba all":            {"pg_hba.conf", "local all all trust\nhost all all all scram-sha-256\n"},
		"comment: redis":              {"redis.conf", "# bind 0.0.0.0\nport 6379\nappendonly yes\n"},
		"comment: php-fpm":            {"www.conf", "[www]\nuser = www-data\n;listen = 0.0.0.0:9000\nlisten = 9000\n"},
		"comment: my.cnf":             {"my.cnf", "[mysqld]\n#bind-address = 0.0.0.0\nskip-name-resolve\n"},
		"comment: xml":                {"config.xml", "<clickhouse><!-- <listen_host>0.0.0.0</listen_host> --><http_port>8123</http_port></clickhouse>"},
		"comment: postgresql":         {"postgresql.conf", "#listen_addresses = '0.0.0.0'\nport = 5432\nmax_connections = 100\n"},
		"prose":                       {"README.md", "Let nginx `listen 80;` and Redis `bind 0.0.0.0`, or run gunicorn -b 0.0.0.0:8000.\n"},
		"versions":                    {"versions.conf", "image: nginx:1.2.3.4\noid: 1.3.6.1.4.1\nversion = 17.0.15.6\n"},
		"client: prometheus targets":  {"prometheus.yml", "scrape_configs:\n- job_name: a\n  static_configs:\n  - targets: [\"10.0.0.1:9090\"]\n"},
		"client: envoy endpoints":     {"envoy.yaml", "static_resources:\n  clusters:\n  - name: a\n    load_assignment:\n      endpoints:\n      - lb_endpoints:\n        - endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}}\n"},
		"client: nginx proxy_pass":    {"default.conf", "server {\n listen [::]:80;\n location / { proxy_pass http://10.0.0.1:80; }\n}\n"},
		"server_name":                 {"default.conf", "server {\n listen [::]:80;\n server_name 10.0.0.1 0.0.0.0;\n location / {}\n}\n"},
		"regular expression":          {"coolwsd.xml", "<config><net><proto>all</proto><post_allow><host>192\\.168\\.[0-9]{1,3}\\.[0-9]{1,3}</host></post_allow></net></config>"},
		"synapse ip_range_blacklist":  {"homeserver.yaml", "server_name: a.example\nip_range_blacklist: ['10.0.0.0/8', '0.0.0.0/8']\nlisteners:\n- port: 8008\n  bind_addresses: ['::']\n  type: http\n"},
		"template: Helm":              {"haproxy.cfg", "frontend f\n  bind {{ .Values.host }}:80\n  default_backend b\n"},
		"template: envsubst":          {"my.cnf", "[mysqld]\nbind-address = ${BIND}\n"},
		"template: jinja":             {"redis.conf", "bind {{ bind }}\nport 6379\nappendonly yes\n"},
		"script: echo":                {"run.sh", "#!/bin/sh\necho \"gunicorn -b 0.0.0.0:80\"\nsed -i s/0.0.0.0/::/ /etc/x\ngrep -q 'listen 80;' /etc/nginx/nginx.conf\n"},
		"script: never run":           {"run.sh", "#!/bin/sh\nif false; then gunicorn -b 0.0.0.0:80 app; fi\nf() { redis-server --bind 0.0.0.0; }\n"},
		"mapped":                      {"default.conf", "server {\n listen [::ffff:0.0.0.0]:80;\n location / {}\n}\n"},
		"certificate":                 {"ca.crt", "-----BEGIN CERTIFICATE-----\nMIIB0.0.0.0\n-----END CERTIFICATE-----\n"},
		"another program's own words": {"app.conf", "bind 0.0.0.0\nlisten 80\nport 8080\n"},
		"another YAML":                {"config.yaml", "server:\n  host: 0.0.0.0\n  port: 8080\nbindIp: 0.0.0.0\n"},
		"another INI":                 {"app.ini", "[server]\nbind-address = 0.0.0.0\nlisten = 0.0.0.0:9000\n"},
	} {
		for _, l := range ReadFiles([]File{f}) {
			if l.Fault != None {
				t.Errorf("%s: %s %s", name, l.Program, describe(l))
			}
		}
	}
	for name, p := range map[string]struct {
		image, line string
	}{
		"Go: prometheus":        {"prom/prometheus:v3.1.0", "prometheus --web.listen-address=0.0.0.0:9090"},
		"Go: arguments only":    {"prom/node-exporter", "--web.listen-address=0.0.0.0:9100"},
		"Go: kube-rbac-proxy":   {"kube-rbac-proxy:v0.18", "--secure-listen-address=0.0.0.0:8443 --upstream=http://127.0.0.1:8080"},
		"Go: controller":        {"shop/controller:1", "/manager --metrics-bind-address=0.0.0.0:8443 --health-probe-bind-address=:8081"},
		"Go: kube-apiserver":    {"kube-apiserver:v1.37.0", "kube-apiserver --bind-address=0.0.0.0 --advertise-address=fd00::1"},
		"Go: oauth2-proxy":      {"oauth2-proxy/oauth2-proxy:v7", "--http-address=0.0.0.0:4180"},
		"Go: ollama":            {"ollama/ollama", "OLLAMA_HOST=0.0.0.0 ollama serve"},
		"JVM":                   {"eclipse-temurin:21", "java -Dserver.address=0.0.0.0 -jar app.jar"},
		"JVM: last one wins":    {"eclipse-temurin:21", "JAVA_TOOL_OPTIONS='-Djava.net.preferIPv4Stack=true -Djava.net.preferIPv4Stack=false' java -jar app.jar"},
		"loopback: gunicorn":    {"python:3", "gunicorn -b 127.0.0.1:8000 app"},
		"unix: gunicorn":        {"python:3", "gunicorn -b unix:/run/app.sock app"},
		"variable: gunicorn":    {"python:3", "gunicorn -b $(POD_IP):8000 app"},
		"client: curl":          {"curlimages/curl", "curl --interface 0.0.0.0 http://10.0.0.1"},
		"client: redis-cli":     {"redis:7", "redis-cli -h 10.0.0.1 ping"},
		"client: psql":          {"postgres:17", "PGHOST=10.0.0.1 psql -h 10.0.0.1"},
		"client: mysql":         {"mysql:8", "mysql --bind-address=10.0.0.1 -h db"},
		"HOSTNAME of the pod":   {"node:22", "HOSTNAME=web-0 node server.js"},
		"HOST is a name":        {"node:22", "HOST=shop.example.net node server.js"},
		"a fallback":            {"python:3", "sh -c 'gunicorn -b [::]:80 app || gunicorn -b 0.0.0.0:80 app'"},
		"a condition":           {"python:3", "sh -c '[ -f /proc/net/if_inet6 ] || exec gunicorn -b 0.0.0.0:80 app; exec gunicorn -b [::]:80 app'"},
		"another condition":     {"python:3", "sh -c 'ip -6 route | grep -q default && exec gunicorn -b [::]:80 app; [ \"$V4\" ] && exec gunicorn -b 0.0.0.0:80 app'"},
		"exec ends a script":    {"python:3", "sh -c 'exec gunicorn -b [::]:80 app; gunicorn -b 0.0.0.0:80 app'"},
		"a variable is unset":   {"temurin:21", "JAVA_TOOL_OPTIONS=-Djava.net.preferIPv4Stack=true sh -c 'unset JAVA_TOOL_OPTIONS; exec java -jar app.jar'"},
		"a variable may be set": {"python:3", "UVICORN_HOST=0.0.0.0 sh -c 'if [ -f /v6 ]; then export UVICORN_HOST=; fi; exec uvicorn app:app'"},
		"one-shot: gunicorn":    {"python:3", "gunicorn --check-config -b 0.0.0.0:80 app"},
		"one-shot: uvicorn":     {"python:3", "uvicorn --version --host 0.0.0.0"},
		"one-shot: vite":        {"node:22", "vite build --host 0.0.0.0"},
		"one-shot: mysqld":      {"mysql:8", "mysqld --initialize --bind-address=0.0.0.0"},
		"one-shot: postgres":    {"postgres:17", "postgres -C port -c listen_addresses=0.0.0.0"},
		"echo":                  {"busybox", "sh -c 'echo gunicorn -b 0.0.0.0:80'"},
		"image only":            {"nginx:1.2.3.4", ""},
		"another redis":         {"redis-exporter", "redis_exporter --bind 0.0.0.0"},
		"a version":             {"shop:1", "shop --version 0.0.0.0"},
		"a range":               {"shop:1", "shop --trusted-proxies 0.0.0.0/0 --bind [::]:80"},
		"already both families": {"memcached:1", "memcached -l 0.0.0.0,::"},
	} {
		process, _ := Case{Config: p.line}.process()
		process.Image = p.image
		if p.line != "" && p.line[0] == '-' {
			process.Args, process.Command = process.Command, nil
		}
		for _, l := range ReadProcess(process) {
			if l.Fault != None {
				t.Errorf("%s: %s %s", name, l.Program, describe(l))
			}
		}
	}
	// An odd text is not an error of anybody.
	for i, text := range []string{"", "\x00", "\xff\xfe", "{", "[[[[", "a: &a [*a]", "<a", "server {", "%PDF-1.4"} {
		for _, p := range Programs() {
			for _, key := range append(p.Keys, "x") {
				for _, l := range ReadFiles([]File{{key, text}}) {
					t.Errorf("odd text %d: %s", i, fmt.Sprint(describe(l)))
				}
			}
		}
	}
}
