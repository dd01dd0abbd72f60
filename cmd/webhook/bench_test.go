package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apijson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/sixgate/sixgate/pkg/rules"
)

// review is an AdmissionReview for an object, as the API server sends it.
func review(kind, operation string, object, old any) []byte {
	request := map[string]any{
		"uid": "0df28fbd-5f5f-11e8-bc74-36e6bb280816", "operation": operation, "namespace": "shop", "name": "web", "dryRun": false,
		"kind": map[string]any{"group": "", "version": "v1", "kind": kind}, "resource": map[string]any{"group": "", "version": "v1", "resource": "x"},
		"requestKind": map[string]any{"group": "", "version": "v1", "kind": kind}, "requestResource": map[string]any{"group": "", "version": "v1", "resource": "x"},
		"userInfo": map[string]any{"username": "admin", "groups": []any{"system:masters", "system:authenticated"}},
		"options":  map[string]any{"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl-client-side-apply"},
		"object":   object,
	}
	if old != nil {
		request["oldObject"] = old
	}
	b, err := json.Marshal(map[string]any{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
	if err != nil {
		panic(err)
	}
	return b
}

func meta() map[string]any {
	return map[string]any{
		"name": "web", "namespace": "shop", "labels": map[string]any{"app": "web", "team": "shop"},
		"managedFields": []any{map[string]any{"manager": "kubectl", "operation": "Apply", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1",
			"fieldsV1": map[string]any{"f:spec": map[string]any{"f:ports": map[string]any{`k:{"port":80,"protocol":"TCP"}`: map[string]any{".": map[string]any{}}}}}}},
	}
}

func benchPod(containers int) map[string]any {
	var list []any
	for i := range containers {
		var env []any
		for j := range 20 {
			env = append(env, map[string]any{"name": fmt.Sprintf("VARIABLE_%d", j), "value": strings.Repeat("x", 40)})
		}
		list = append(list, map[string]any{
			"name": fmt.Sprintf("c%d", i), "image": "registry.example.net/web:v1", "env": env,
			"ports":          []any{map[string]any{"containerPort": 8080, "hostPort": 8080 + i, "protocol": "TCP", "hostIP": "0.0.0.0"}},
			"resources":      map[string]any{"requests": map[string]any{"cpu": "100m", "memory": "128Mi"}},
			"livenessProbe":  map[string]any{"httpGet": map[string]any{"path": "/healthz", "port": 8080}},
			"volumeMounts":   []any{map[string]any{"name": "data", "mountPath": "/data"}},
			"terminationLog": "/dev/termination-log",
		})
	}
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": meta(), "spec": map[string]any{"containers": list}}
}

func benchService() map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": meta(), "spec": map[string]any{
		"ipFamilies": []any{"IPv4"}, "selector": map[string]any{"app": "web"}, "type": "ClusterIP",
		"ports": []any{map[string]any{"port": 80, "targetPort": 8080, "protocol": "TCP"}},
	}}
}

func benchConfigMap(data map[string]any) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(), "data": data}
}

func repeatTo(text string, size int) string { return strings.Repeat(text, size/len(text)+1) }

// benchCases are the requests of docs/benchmarks.md.
func benchCases() []struct {
	name string
	body []byte
} {
	log := "2026-01-01T00:00:00Z level=info msg=\"request served\" path=/index.html status=200\n"
	page := "server:\n  port: 8080 # {{ not nginx }}\n  listen: everywhere\n"
	server := "server {\n  listen 80;\n  listen [::]:80;\n  server_name shop.example.net;\n  location / { proxy_pass http://backend; proxy_set_header Host $host; }\n}\n"
	one := benchConfigMap(map[string]any{"default.conf": server})
	file := func(name, text string) []byte {
		return review("ConfigMap", "CREATE", benchConfigMap(map[string]any{name: text}), nil)
	}
	return []struct {
		name string
		body []byte
	}{
		{"Service-1KB", review("Service", "CREATE", benchService(), nil)},
		{"Service-update-2KB", review("Service", "UPDATE", benchService(), benchService())},
		{"Pod-3KB", review("Pod", "CREATE", benchPod(1), nil)},
		{"Pod-25KB", review("Pod", "CREATE", benchPod(10), nil)},
		{"Pod-1MB", review("Pod", "CREATE", benchPod(420), nil)},
		{"ConfigMap-nginx-1KB", review("ConfigMap", "CREATE", one, nil)},
		{"ConfigMap-nginx-IPv4-1KB", review("ConfigMap", "CREATE", benchConfigMap(map[string]any{"default.conf": strings.Replace(server, "  listen [::]:80;\n", "", 1)}), nil)},
		{"ConfigMap-redis-2KB", file("redis.conf", redisConf)},
		{"ConfigMap-haproxy-2KB", file("haproxy.cfg", haproxyCfg)},
		{"ConfigMap-mysql-1KB", file("my.cnf", myCnf)},
		{"ConfigMap-application-yaml-2KB", file("application.yaml", applicationYAML)},
		{"ConfigMap-application-properties-2KB", file("application.properties", applicationProperties)},
		{"ConfigMap-settings-json-1KB", file("settings.json", settingsJSON)},
		{"ConfigMap-prometheus-2KB", file("prometheus.yml", prometheusYAML)},
		{"ConfigMap-script-1KB", file("entrypoint.sh", entrypoint)},
		{"ConfigMap-env-1KB", review("ConfigMap", "CREATE", benchConfigMap(benchEnv()), nil)},
		{"ConfigMap-logs-1MB", file("app.log", repeatTo(log, 1<<20))},
		{"ConfigMap-yaml-1MB", file("app.yaml", repeatTo(page, 1<<20))},
		{"ConfigMap-json-1MB", file("app.json", "["+repeatTo(settingsJSON+",", 1<<20)+"{}]")},
		{"ConfigMap-nginx-1MB", file("default.conf", repeatTo(server, 1<<20))},
	}
}

func benchEnv() map[string]any {
	data := map[string]any{"DATABASE_URL": "postgres://shop@db.example.net:5432/shop", "REDIS_HOST": "redis", "LOG_LEVEL": "info", "BIND_PORT": "8080"}
	for i := range 20 {
		data[fmt.Sprintf("FEATURE_%d_ENABLED", i)] = "true"
	}
	return data
}

// What programs are configured with that serve IPv6, or that serve nobody.
const (
	redisConf = `# Redis
bind * -::*
protected-mode yes
port 6379
tcp-backlog 511
unixsocket /run/redis.sock
timeout 0
tcp-keepalive 300
daemonize no
loglevel notice
logfile ""
databases 16
save 900 1
save 300 10
save 60 10000
stop-writes-on-bgsave-error yes
rdbcompression yes
rdbchecksum yes
dbfilename dump.rdb
dir /data
replica-serve-stale-data yes
replica-read-only yes
repl-diskless-sync yes
# By default, Redis does not limit the memory it uses. Where it is a cache, the limit and the policy are what matter.
maxmemory 1gb
maxmemory-policy allkeys-lru
lazyfree-lazy-eviction no
appendonly yes
appendfilename "appendonly.aof"
appendfsync everysec
no-appendfsync-on-rewrite no
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
slowlog-log-slower-than 10000
slowlog-max-len 128
latency-monitor-threshold 0
notify-keyspace-events ""
hash-max-listpack-entries 512
hash-max-listpack-value 64
list-max-listpack-size -2
set-max-intset-entries 512
zset-max-listpack-entries 128
activerehashing yes
client-output-buffer-limit normal 0 0 0
client-output-buffer-limit replica 256mb 64mb 60
client-output-buffer-limit pubsub 32mb 8mb 60
hz 10
dynamic-hz yes
`
	haproxyCfg = `global
  log stdout format raw local0
  maxconn 4096
  stats socket /run/haproxy.sock mode 660 level admin
defaults
  mode http
  log global
  option httplog
  option dontlognull
  timeout connect 5s
  timeout client 50s
  timeout server 50s
  errorfile 400 /etc/haproxy/errors/400.http
  errorfile 403 /etc/haproxy/errors/403.http
  errorfile 408 /etc/haproxy/errors/408.http
frontend web
  bind :::80 v4v6
  bind :::443 v4v6 ssl crt /etc/haproxy/certs/
  http-request redirect scheme https unless { ssl_fc }
  acl is_api path_beg /api
  acl is_static path_end .css .js .png
  use_backend api if is_api
  use_backend static if is_static
  default_backend app
backend app
  balance roundrobin
  option httpchk GET /healthz
  server app1 app-0.app:8080 check inter 5s
  server app2 app-1.app:8080 check inter 5s
  server app3 app-2.app:8080 check inter 5s
backend api
  balance leastconn
  option httpchk GET /healthz
  server api1 api-0.api:8080 check inter 5s
  server api2 api-1.api:8080 check inter 5s
backend static
  server static1 static:8080 check
listen stats
  bind :::8404 v4v6
  stats enable
  stats uri /stats
`
	myCnf = `[client]
port = 3306
socket = /run/mysqld/mysqld.sock
default-character-set = utf8mb4
[mysqld]
user = mysql
bind-address = *
port = 3306
datadir = /var/lib/mysql
skip-name-resolve
max_connections = 300
max_allowed_packet = 64M
character-set-server = utf8mb4
collation-server = utf8mb4_unicode_ci
innodb_buffer_pool_size = 1G
innodb_log_file_size = 256M
innodb_flush_log_at_trx_commit = 1
innodb_flush_method = O_DIRECT
slow_query_log = 1
slow_query_log_file = /var/log/mysql/slow.log
long_query_time = 2
server-id = 1
log_bin = mysql-bin
binlog_format = ROW
expire_logs_days = 7
gtid_mode = ON
enforce_gtid_consistency = ON
[mysqldump]
quick
max_allowed_packet = 64M
`
	applicationYAML = `spring:
  application:
    name: shop
  datasource:
    url: jdbc:postgresql://db.example.net:5432/shop
    username: shop
    hikari:
      maximum-pool-size: 20
      connection-timeout: 30000
  jpa:
    open-in-view: false
    hibernate:
      ddl-auto: validate
    properties:
      hibernate.jdbc.batch_size: 50
  data:
    redis:
      host: redis
      port: 6379
  kafka:
    bootstrap-servers: kafka-0.kafka:9092,kafka-1.kafka:9092
    consumer:
      group-id: shop
      auto-offset-reset: earliest
server:
  port: 8080
  shutdown: graceful
  compression:
    enabled: true
    mime-types: [text/html, text/css, application/json]
management:
  endpoints:
    web:
      exposure:
        include: health,info,prometheus
  endpoint:
    health:
      probes:
        enabled: true
logging:
  level:
    root: INFO
    net.example.shop: DEBUG
shop:
  currency: EUR
  features:
    - name: checkout
      enabled: true
    - name: wishlist
      enabled: false
  mail:
    host: mail.example.net
    port: 587
    from: shop@example.net
`
	applicationProperties = `spring.application.name=shop
spring.datasource.url=jdbc:postgresql://db.example.net:5432/shop
spring.datasource.username=shop
spring.datasource.hikari.maximum-pool-size=20
spring.datasource.hikari.connection-timeout=30000
spring.jpa.open-in-view=false
spring.jpa.hibernate.ddl-auto=validate
spring.jpa.properties.hibernate.jdbc.batch_size=50
spring.data.redis.host=redis
spring.data.redis.port=6379
spring.kafka.bootstrap-servers=kafka-0.kafka:9092,kafka-1.kafka:9092
spring.kafka.consumer.group-id=shop
spring.kafka.consumer.auto-offset-reset=earliest
# The server
server.port=8080
server.shutdown=graceful
server.compression.enabled=true
server.compression.mime-types=text/html,text/css,application/json
management.endpoints.web.exposure.include=health,info,prometheus
management.endpoint.health.probes.enabled=true
logging.level.root=INFO
logging.level.net.example.shop=DEBUG
shop.currency=EUR
shop.features.checkout=true
shop.features.wishlist=false
shop.mail.host=mail.example.net
shop.mail.port=587
shop.mail.from=shop@example.net
`
	settingsJSON = `{
  "name": "shop",
  "http": {"port": 8080, "timeout": "30s", "cors": ["https://shop.example.net"]},
  "database": {"host": "db.example.net", "port": 5432, "pool": {"min": 2, "max": 20}},
  "cache": {"host": "redis", "port": 6379, "ttl": 300},
  "queues": [{"name": "orders", "workers": 4}, {"name": "mails", "workers": 2}],
  "features": {"checkout": true, "wishlist": false, "reviews": true},
  "logging": {"level": "info", "format": "json"},
  "metrics": {"path": "/metrics", "port": 9090}
}
`
	prometheusYAML = `global:
  scrape_interval: 30s
  evaluation_interval: 30s
  external_labels:
    cluster: shop
rule_files:
  - /etc/prometheus/rules/*.yaml
alerting:
  alertmanagers:
    - static_configs:
        - targets: [alertmanager.monitoring:9093]
scrape_configs:
  - job_name: prometheus
    static_configs:
      - targets: [localhost:9090]
  - job_name: kubernetes-apiservers
    kubernetes_sd_configs:
      - role: endpoints
    scheme: https
    tls_config:
      ca_file: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
    bearer_token_file: /var/run/secrets/kubernetes.io/serviceaccount/token
    relabel_configs:
      - source_labels: [__meta_kubernetes_namespace, __meta_kubernetes_service_name, __meta_kubernetes_endpoint_port_name]
        action: keep
        regex: default;kubernetes;https
  - job_name: kubernetes-pods
    kubernetes_sd_configs:
      - role: pod
    relabel_configs:
      - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape]
        action: keep
        regex: true
      - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path]
        action: replace
        target_label: __metrics_path__
        regex: (.+)
      - source_labels: [__address__, __meta_kubernetes_pod_annotation_prometheus_io_port]
        action: replace
        regex: ([^:]+)(?::\d+)?;(\d+)
        replacement: $1:$2
        target_label: __address__
      - action: labelmap
        regex: __meta_kubernetes_pod_label_(.+)
`
	entrypoint = `#!/bin/sh
set -eu
# Wait for the database, migrate, start.
until pg_isready -h "$DB_HOST" -p "${DB_PORT:-5432}"; do
  echo "waiting for $DB_HOST"
  sleep 2
done
if [ "${MIGRATE:-yes}" = yes ]; then
  python manage.py migrate --noinput
  python manage.py collectstatic --noinput
fi
for f in /docker-entrypoint.d/*.sh; do
  [ -x "$f" ] && "$f"
done
export PYTHONUNBUFFERED=1
exec gunicorn --bind "[::]:${PORT:-8000}" --workers "${WORKERS:-4}" --access-logfile - shop.wsgi:application
`
)

func benchSet(b *testing.B) *atomic.Pointer[rules.Set] {
	p, err := rules.ReadPolicy([]byte(`apiVersion: sixgate.io/v1alpha1
kind: Policy
cluster: {families: [IPv6], cni: calico}
apiServer: {host: api.example.net, port: 6443}
pools: [{ipv6Pools: ["2001:db8:42::/64"]}]
`))
	if err != nil {
		b.Fatal(err)
	}
	set := &atomic.Pointer[rules.Set]{}
	set.Store(rules.NewSet(p))
	return set
}

// benchHandlers are both webhooks, with a policy that uses everything.
func benchHandlers(set *atomic.Pointer[rules.Set]) map[string]*handler {
	return map[string]*handler{
		"mutate":   {name: "mutate", verb: mutateRequest, set: set, log: logr.Discard()},
		"validate": {name: "validate", verb: validateRequest(nil), set: set, log: logr.Discard()},
	}
}

// A discard is a response that nobody reads.
type discard struct {
	header http.Header
	code   int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(code int)        { d.code = code }

// oneRequest hands a body to a handler as net/http does.
func oneRequest(b *testing.B, h http.Handler, body []byte) {
	w := &discard{header: http.Header{}, code: http.StatusOK}
	h.ServeHTTP(w, &http.Request{
		Method: http.MethodPost, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	})
	if w.code != http.StatusOK {
		b.Fatal(w.code)
	}
}

// floor decodes a body into generic JSON, and does nothing else.
func floor(b *testing.B, body []byte) {
	var v map[string]any
	if err := apijson.Unmarshal(body, &v); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkHandler is the whole HTTP handler, from the bytes of the AdmissionReview to the bytes of the answer.
// BenchmarkHandler/floor is what merely decoding the same bytes into generic JSON costs.
func BenchmarkHandler(b *testing.B) {
	handlers := benchHandlers(benchSet(b))
	for _, c := range benchCases() {
		run := func(name string, one func(b *testing.B)) {
			b.Run(name+"/"+c.name, func(b *testing.B) {
				b.SetBytes(int64(len(c.body)))
				b.ReportAllocs()
				for b.Loop() {
					one(b)
				}
			})
		}
		run("floor", func(b *testing.B) { floor(b, c.body) })
		for _, verb := range verbs() {
			run(verb, func(b *testing.B) { oneRequest(b, handlers[verb], c.body) })
		}
	}
}

// ordinary is a webhook of controller-runtime that decodes the object, as most do, and allows the request.
func ordinary(b *testing.B) http.Handler {
	decoder := admission.NewDecoder(scheme.Scheme)
	h, err := admission.StandaloneWebhook(&admission.Webhook{Handler: admission.HandlerFunc(func(_ context.Context, in admission.Request) admission.Response {
		o, err := scheme.Scheme.New(schema.GroupVersionKind(in.Kind))
		if err == nil {
			err = decoder.Decode(in, o)
		}
		if err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
		return admission.Allowed("")
	})}, admission.StandaloneOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return h
}

// BenchmarkOrdinary is what an ordinary webhook that does nothing takes of the floor.
func BenchmarkOrdinary(b *testing.B) {
	h := ordinary(b)
	for _, c := range benchCases() {
		b.Run(c.name, func(b *testing.B) {
			compare(b, func() { floor(b, c.body) }, func() { oneRequest(b, h, c.body) })
		})
	}
}

// BenchmarkRatio runs the floor and the handler by turns, and counts the CPU time of both, also the garbage collector's: what else the
// machine does weighs on both alike.
func BenchmarkRatio(b *testing.B) {
	handlers := benchHandlers(benchSet(b))
	for _, c := range benchCases() {
		for _, verb := range verbs() {
			b.Run(verb+"/"+c.name, func(b *testing.B) {
				compare(b, func() { floor(b, c.body) }, func() { oneRequest(b, handlers[verb], c.body) })
			})
		}
	}
}

// BenchmarkRules is the cost against the number of rules that look at the kind: one, ten, all of them.
func BenchmarkRules(b *testing.B) {
	for _, c := range benchCases() {
		kind, _, _ := strings.Cut(c.name, "-")
		var ids []string
		for _, r := range rules.All() {
			if slices.ContainsFunc(r.Targets, func(t rules.Target) bool { return t.Kind == kind && !t.AuditOnly }) {
				ids = append(ids, r.ID)
			}
		}
		for _, n := range []int{0, 1, 10, len(ids)} {
			if n > len(ids) || len(c.body) > 1<<15 {
				continue
			}
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				p := *benchSet(b).Load().Policy()
				p.Rules = map[string]rules.Setting{}
				for _, id := range ids[n:] {
					p.Rules[id] = rules.Setting{Level: rules.Off}
				}
				set := &atomic.Pointer[rules.Set]{}
				set.Store(rules.NewSet(&p))
				validate := benchHandlers(set)["validate"]
				compare(b, func() { floor(b, c.body) }, func() { oneRequest(b, validate, c.body) })
			})
		}
	}
}

// BenchmarkSize is the cost against the size of the object.
func BenchmarkSize(b *testing.B) {
	validate := benchHandlers(benchSet(b))["validate"]
	run := func(name string, object map[string]any) {
		body := review(name, "CREATE", object, nil)
		b.Run(fmt.Sprintf("%s/%dKB", name, len(body)/1000), func(b *testing.B) {
			compare(b, func() { floor(b, body) }, func() { oneRequest(b, validate, body) })
		})
	}
	for _, containers := range []int{1, 5, 42, 420} {
		run("Pod", benchPod(containers))
	}
	for _, size := range []int{1e3, 1e4, 1e5, 1e6} {
		run("ConfigMap", benchConfigMap(map[string]any{"app.log": repeatTo("2026-01-01T00:00:00Z level=info msg=\"request served\" path=/index.html status=200\n", size)}))
	}
}

// compare runs two by turns and reports the CPU time of the first, and how many times that the second takes.
func compare(b *testing.B, first, second func()) {
	turn := 1 // how often each runs, about 2 ms
	for cpuTime(b, first, turn) < 2*time.Millisecond {
		turn *= 2
	}
	var times [2]time.Duration
	n := 0
	for b.Loop() {
		times[0] += cpuTime(b, first, turn)
		times[1] += cpuTime(b, second, turn)
		n += turn
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(times[0].Nanoseconds())/float64(n), "floor-ns")
	b.ReportMetric(float64(times[1])/float64(times[0]), "x-floor")
}

// cpuTime is what running something so often takes of the process's CPU time.
func cpuTime(b *testing.B, one func(), times int) time.Duration {
	before := processTime(b)
	for range times {
		one()
	}
	return processTime(b) - before
}

func processTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}
