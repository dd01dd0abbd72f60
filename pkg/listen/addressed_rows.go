package listen

// addressedRows are servers in Go and Java that bind what their options or variables say. Those without either are here so that
// they are known: a 0.0.0.0 that they are told is no fault.
//
// Source: Go, net/ipsock_posix.go, favoriteAddrFamily; OpenJDK was run.
func addressedRows() []Program {
	var out []Program
	for _, a := range append(goServers(), jvmServers()...) {
		if a.source == "" {
			a.source = unread
		}
		out = append(out, a.row())
	}
	return out
}

func goServers() []addressed {
	web := []string{"web.listen-address"}
	run := func(line, port string, binds Family) Case { return Case{Config: line, Port: port, Binds: binds} }
	all := []addressed{
		{name: "Prometheus", ran: "Prometheus 2.42.0", names: []string{"prometheus"}, images: []string{"prometheus"}, flags: web, port: "9090",
			cases: []Case{run("prometheus --config.file=/dev/null --storage.tsdb.path=$DIR --web.listen-address=0.0.0.0:9090", "9090", Dual),
				run("prometheus --config.file=/dev/null --storage.tsdb.path=$DIR --web.listen-address=[::]:9091", "9091", Dual)}},
		{name: "Alertmanager", ran: "Alertmanager 0.25.0", names: []string{"alertmanager", "prometheus-alertmanager"}, images: []string{"alertmanager"},
			flags: []string{"web.listen-address", "cluster.listen-address"}, port: "9093",
			cases: []Case{run("prometheus-alertmanager --config.file=$DIR/alertmanager.yml --storage.path=$DIR --cluster.listen-address= --web.listen-address=0.0.0.0:9093", "9093", Dual)}},
		{name: "Prometheus exporters", ran: "node_exporter 1.5.0, blackbox_exporter 0.23.0, Pushgateway 1.5.1", flags: web, port: "9100",
			names: []string{"prometheus-node-exporter", "node_exporter", "prometheus-blackbox-exporter", "blackbox_exporter", "prometheus-pushgateway", "pushgateway",
				"mysqld_exporter", "postgres_exporter", "redis_exporter", "snmp_exporter", "memcached_exporter", "elasticsearch_exporter", "process-exporter",
				"statsd_exporter", "consul_exporter", "haproxy_exporter", "kafka_exporter", "rabbitmq_exporter", "mongodb_exporter", "nginx-prometheus-exporter"},
			images: []string{"node-exporter", "blackbox-exporter", "pushgateway", "mysqld-exporter", "postgres-exporter", "redis_exporter", "snmp-exporter",
				"memcached-exporter", "elasticsearch-exporter", "process-exporter", "statsd-exporter", "kafka-exporter", "mongodb_exporter", "nginx-prometheus-exporter"},
			cases: []Case{run("prometheus-node-exporter --web.listen-address 0.0.0.0:9100", "9100", Dual), run("prometheus-pushgateway --web.listen-address=:9092", "9092", Dual),
				run("prometheus-blackbox-exporter --config.file=$DIR/blackbox.yml --web.listen-address=0.0.0.0:9115", "9115", Dual)}},
		{name: "Prometheus Operator", names: []string{"prometheus-config-reloader"}, images: []string{"prometheus-operator", "prometheus-config-reloader"}, flags: append(web, "listen-address")},
		{name: "Thanos", names: []string{"thanos"}, images: []string{"thanos"}, flags: []string{"http-address", "grpc-address", "remote-write.address"}},
		{name: "etcd", ran: "etcd 3.4.23", names: []string{"etcd"}, images: []string{"etcd"}, flags: []string{"listen-client-urls", "listen-peer-urls", "listen-metrics-urls"},
			vars: []string{"ETCD_LISTEN_CLIENT_URLS", "ETCD_LISTEN_PEER_URLS", "ETCD_LISTEN_METRICS_URLS"}, port: "2379",
			cases: fileCases("etcd.yaml", "name: a\ndata-dir: $DIR/data\nadvertise-client-urls: http://localhost:2378\nlisten-client-urls: http://$ADDRESS:2378\n", "2378", "0.0.0.0", "",
				run("etcd --data-dir $DIR/data --advertise-client-urls http://localhost:2388 --listen-client-urls http://0.0.0.0:2388", "2388", Dual),
				run("etcd --data-dir $DIR/data --advertise-client-urls http://localhost:2389 --listen-client-urls http://127.0.0.1:2389,http://[::1]:2389", "2389", Loopback),
				run("ETCD_LISTEN_CLIENT_URLS=http://[::]:2399 etcd --data-dir $DIR/data --advertise-client-urls http://localhost:2399", "2399", Dual)),
			keys: []string{"*etcd*", "*.yaml", "*.yml"}, gist: []string{"listen-client-urls"}, files: yamlAddresses([]string{"listen-client-urls"}, "listen-client-urls", "listen-peer-urls", "listen-metrics-urls")},
		{name: "NATS", ran: "nats-server 2.9.10", names: []string{"nats-server"}, images: []string{"nats"}, flags: []string{"addr", "net", "a"}, port: "4222",
			cases: fileCases("nats.conf", "# host: 10.1.2.3\nhost: $ADDRESS\nport: 4225\n", "4225", "0.0.0.0", "", run("nats-server -a 0.0.0.0 -p 4222", "4222", Dual), run("nats-server -p 4223", "4223", Dual), run("nats-server --addr :: -p 4224", "4224", Dual)),
			keys:  []string{"*nats*"}, files: each(natsFiles)},
		{name: "MinIO", names: []string{"minio"}, images: []string{"minio"}, flags: []string{"address", "console-address"}, vars: []string{"MINIO_ADDRESS", "MINIO_CONSOLE_ADDRESS"}, port: "9000"},
		{name: "InfluxDB", ran: "InfluxDB 1.6.7", names: []string{"influxd"}, images: []string{"influxdb"}, flags: []string{"http-bind-address"},
			vars: []string{"INFLUXDB_HTTP_BIND_ADDRESS", "INFLUXD_HTTP_BIND_ADDRESS"}, port: "8086",
			cases: fileCases("influxdb.conf", "reporting-disabled = true\nbind-address = \"127.0.0.1:0\" # RPC\n[meta]\n  dir = \"$DIR/meta\"\n[data]\n  dir = \"$DIR/data\"\n  wal-dir = \"$DIR/wal\"\n[http]\n  bind-address = \"$ADDRESS:8097\"\n", "8097", "0.0.0.0", "",
				run("INFLUXDB_META_DIR=$DIR/meta INFLUXDB_DATA_DIR=$DIR/data INFLUXDB_DATA_WAL_DIR=$DIR/wal INFLUXDB_HTTP_BIND_ADDRESS=0.0.0.0:8096 influxd run -config $DIR/influxdb.conf", "8096", Dual)),
			keys: []string{"*influx*"}, gist: []string{"bind-address"}, files: iniAddresses("8086", "http.bind-address", ".bind-address", "graphite.bind-address", "opentsdb.bind-address", "collectd.bind-address")},
		{name: "Docker Registry", ran: "docker-registry 2.8.2", names: []string{"registry", "docker-registry"}, images: []string{"registry"}, vars: []string{"REGISTRY_HTTP_ADDR"}, port: "5000",
			cases: fileCases("registry.yml", "version: 0.1\nstorage: {filesystem: {rootdirectory: $DIR}}\nhttp:\n  addr: $ADDRESS:5002\n", "5002", "0.0.0.0", "",
				run("REGISTRY_HTTP_ADDR=0.0.0.0:5001 docker-registry serve $DIR/registry.yml", "5001", Dual)),
			keys: []string{"*.yaml", "*.yml"}, gist: []string{"storage:"}, files: yamlAddresses([]string{"version", "storage", "http"}, "http.addr", "http.debug.addr")},
		{name: "Grafana", names: []string{"grafana", "grafana-server"}, images: []string{"grafana", "grafana-enterprise", "grafana-oss"}, vars: []string{"GF_SERVER_HTTP_ADDR"}, port: "3000",
			cases: fileCases("grafana.ini", "[server]\n;http_addr = 10.1.2.3\nhttp_addr = $ADDRESS\n", "3000", "0.0.0.0", "not in Debian"),
			keys:  []string{"grafana.ini", "custom.ini", "defaults.ini"}, files: iniAddresses("3000", "server.http_addr")},
		{name: "OpenTelemetry Collector", names: []string{"otelcol", "otelcol-contrib", "otelcol-k8s", "otelcontribcol"},
			images: []string{"opentelemetry-collector", "opentelemetry-collector-contrib", "opentelemetry-collector-k8s", "aws-otel-collector"},
			cases:  otelCases(),
			gist:   []string{"receivers"}, files: each(otelFiles)},
		{name: "Jaeger", names: []string{"jaeger", "jaeger-all-in-one", "jaeger-collector", "jaeger-query", "jaeger-agent"}, images: []string{"jaeger", "all-in-one", "jaeger-collector", "jaeger-query", "jaeger-agent"},
			flags: []string{"collector.grpc-server.host-port", "collector.http-server.host-port", "collector.otlp.grpc.host-port", "collector.otlp.http.host-port", "collector.zipkin.host-port",
				"query.http-server.host-port", "query.grpc-server.host-port", "admin.http.host-port"}},
		{name: "Consul", names: []string{"consul"}, images: []string{"consul"}, flags: []string{"client", "bind", "serf-lan-bind", "serf-wan-bind"},
			cases: fileCases("consul.hcl", "datacenter = \"dc1\"\n# client_addr = \"10.1.2.3\"\nclient_addr = \"$ADDRESS\"\n", "8500", "0.0.0.0", "not in Debian",
				fileCases("server.json", `{"datacenter": "dc1", "client_addr": "$ADDRESS"}`, "8500", "0.0.0.0", "not in Debian")...),
			keys: []string{"*.hcl", "*.json"}, gist: []string{"_addr"}, files: consulFiles([]string{"datacenter", "retry_join", "bootstrap_expect", "client_addr"}, "bind_addr", "client_addr", "addresses.http", "addresses.https", "addresses.grpc", "addresses.dns")},
		{name: "Nomad", names: []string{"nomad"}, images: []string{"nomad"}, flags: []string{"bind"}},
		{name: "oauth2-proxy", names: []string{"oauth2-proxy"}, images: []string{"oauth2-proxy"}, flags: []string{"http-address", "https-address", "metrics-address"},
			vars: []string{"OAUTH2_PROXY_HTTP_ADDRESS", "OAUTH2_PROXY_HTTPS_ADDRESS", "OAUTH2_PROXY_METRICS_ADDRESS"}, port: "4180"},
		{name: "kube-rbac-proxy", names: []string{"kube-rbac-proxy"}, images: []string{"kube-rbac-proxy"}, flags: []string{"secure-listen-address", "insecure-listen-address"}},
		{name: "kube-state-metrics", names: []string{"kube-state-metrics"}, images: []string{"kube-state-metrics"}, flags: []string{"host", "telemetry-host"}},
		{name: "Kubernetes servers", rule: "listen-kubernetes-component", source: "kubernetes.io/docs/reference/command-line-tools-reference; Go's net.Listen was run",
			names: []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "cloud-controller-manager", "kubelet", "kube-proxy", "metrics-server", "hyperkube",
				"prometheus-adapter", "adapter", "custom-metrics-apiserver", "k3s", "rke2"},
			images: []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "cloud-controller-manager", "metrics-server", "prometheus-adapter"},
			flags:  []string{"bind-address", "healthz-bind-address", "metrics-bind-address"}, port: "8443"},
		{name: "controller-runtime", names: []string{"manager"}, images: []string{"opentelemetry-operator", "target-allocator"},
			flags: []string{"metrics-bind-address", "metrics-addr", "health-probe-bind-address", "health-probe-addr", "webhook-bind-address"}},
		{name: "cert-manager", images: []string{"cert-manager-controller", "cert-manager-webhook", "cert-manager-cainjector"}, names: []string{"cert-manager"},
			flags: []string{"metrics-listen-address", "healthz-listen-address", "profiler-address"}},
		{name: "ExternalDNS", names: []string{"external-dns"}, images: []string{"external-dns"}, flags: []string{"metrics-address"}},
		{name: "Argo CD", names: []string{"argocd-server", "argocd-repo-server", "argocd-application-controller", "argocd-notifications", "argocd-applicationset-controller"}, images: []string{"argocd"},
			flags: []string{"address", "metrics-address", "metrics-addr", "probe-addr"},
			vars:  []string{"ARGOCD_SERVER_LISTEN_ADDRESS", "ARGOCD_SERVER_METRICS_LISTEN_ADDRESS", "ARGOCD_REPO_SERVER_LISTEN_ADDRESS", "ARGOCD_REPO_SERVER_LISTEN_METRICS_ADDRESS"}},
		{name: "Dex", names: []string{"dex"}, images: []string{"dex"}, flags: []string{"web-http-addr", "web-https-addr", "grpc-addr", "telemetry-addr"},
			cases: fileCases("config.yaml", "issuer: https://dex\nweb:\n  http: $ADDRESS:5556\n", "5556", "0.0.0.0", "not in Debian"),
			keys:  []string{"*.yaml", "*.yml", "*.json"}, gist: []string{"issuer"}, files: yamlAddresses([]string{"issuer", "web"}, "web.http", "web.https", "grpc.addr", "telemetry.http")},
		{name: "cloudflared", names: []string{"cloudflared"}, images: []string{"cloudflared"}, flags: []string{"metrics"}, vars: []string{"TUNNEL_METRICS"}},
		{name: "Gitea", names: []string{"gitea", "forgejo"}, images: []string{"gitea", "forgejo"}, vars: []string{"GITEA__server__HTTP_ADDR", "FORGEJO__server__HTTP_ADDR"}, port: "3000",
			cases: fileCases("app.ini", "[server]\nHTTP_ADDR = $ADDRESS\nHTTP_PORT = 3000\n", "3000", "0.0.0.0", "not in Debian"),
			keys:  []string{"app.ini"}, files: iniAddresses("3000", "server.http_addr")},
		{name: "CockroachDB", names: []string{"cockroach"}, images: []string{"cockroach"}, flags: []string{"listen-addr", "sql-addr", "http-addr"}, port: "26257"},
		{name: "Ollama", names: []string{"ollama"}, images: []string{"ollama"}, vars: []string{"OLLAMA_HOST"}, port: "11434"},
		{name: "Go servers without an address", names: []string{"caddy", "coredns", "telegraf", "external-secrets", "flanneld", "speaker", "kube-vip", "velero", "syncthing", "node-problem-detector", "cadvisor"},
			images: []string{"caddy", "coredns", "telegraf", "external-secrets", "flannel", "kube-vip", "velero", "syncthing", "node-problem-detector", "cadvisor", "vouch-proxy", "kafka-pixy", "kminion", "burrow", "flagd"}},
	}
	for i := range all {
		if all[i].rule == "" {
			all[i].rule = "listen-go"
		}
	}
	return all
}

func jvmServers() []addressed {
	all := []addressed{
		{name: "Java applications", names: []string{"java"}, flags: []string{"server.address", "management.server.address", "Dserver.address", "Dquarkus.http.host"},
			vars: []string{"MANAGEMENT_SERVER_ADDRESS", "QUARKUS_HTTP_HOST", "MICRONAUT_SERVER_HOST"}, source: "Spring Boot and Quarkus, their lists of properties; OpenJDK was run",
			cases: springCases(),
			keys:  []string{"application*.properties", "application*.y*ml", "bootstrap*.y*ml"}, gist: []string{"address", "quarkus"}, files: each(springFiles)},
		{name: "Kafka", names: []string{"kafka-server-start.sh", "kafka-server-start"}, images: []string{"kafka", "cp-kafka", "cp-server", "confluent-local"},
			vars: []string{"KAFKA_LISTENERS", "KAFKA_CFG_LISTENERS"}, port: "9092", source: "kafka.apache.org/documentation, listeners, which the images set from these variables; the JVM was run",
			cases: append(kafkaCases(), Case{Config: "KAFKA_LISTENERS=PLAINTEXT://:9092,CONTROLLER://10.1.2.3:9093 kafka-server-start.sh", Port: "9093", Binds: IPv4, NoFix: true, NotRun: "not in Debian"}),
			keys:  []string{"*.properties"}, gist: []string{"listeners"}, files: each(kafkaFiles)},
		{name: "Jenkins", names: []string{"jenkins.sh"}, images: []string{"jenkins"}, flags: []string{"httpListenAddress", "httpsListenAddress"}},
		{name: "Keycloak", names: []string{"kc.sh"}, images: []string{"keycloak"}, flags: []string{"http-host"}, vars: []string{"KC_HTTP_HOST"}},
		{name: "Solr", names: []string{"solr", "solr-foreground"}, images: []string{"solr"}, vars: []string{"SOLR_JETTY_HOST"}, port: "8983"},
		{name: "Logstash", names: []string{"logstash"}, images: []string{"logstash"}, flags: []string{"api.http.host", "http.host"}, vars: []string{"API_HTTP_HOST", "HTTP_HOST"}},
		{name: "JVM servers without an address", names: []string{"rmiregistry", "catalina.sh", "zkServer.sh", "neo4j", "nifi.sh", "jetty.sh", "activemq", "artemis"},
			images: []string{"tomcat", "zookeeper", "cp-zookeeper", "neo4j", "nifi", "jboss-webserver", "jetty", "nexus3", "sonarqube", "activemq-classic", "activemq-artemis", "trino", "flink", "spark", "hazelcast"}},
	}
	for i := range all {
		all[i].rule = "listen-java"
	}
	return all
}
