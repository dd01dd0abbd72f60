package listen

import "slices"

func runtimeRows() []Program {
	victoria, victoriaImages := victoriaNames()
	return slices.Concat([]Program{
		{Name: "Java", Rule: "listen-java", Ran: "OpenJDK 17.0.15", Gist: []string{preferIPv4}, Files: each(javaFiles), Any: true, Run: javaRun, Cases: javaCases},
		{Name: "Tomcat", Rule: "listen-java", Ran: "Tomcat 10.1.60", Keys: []string{"*.xml"}, Gist: []string{"<Connector"}, Files: each(tomcatFiles), Cases: tomcatCases},
		{Name: "ZooKeeper", Rule: "listen-java", Ran: "ZooKeeper 3.8.0", Keys: []string{"*.cfg"}, Gist: []string{"lientPort"}, Files: each(zooKeeperFiles), Cases: zooKeeperCases},
		{Name: "Elasticsearch, OpenSearch", Rule: "listen-java", Source: "Elasticsearch, server/src/main/java/org/elasticsearch/common/network/NetworkService.java",
			Keys: []string{"*elasticsearch*", "*opensearch*"}, Files: each(elasticsearchFiles),
			Names: []string{"elasticsearch", "opensearch", "opensearch-docker-entrypoint.sh"}, Images: []string{"elasticsearch", "opensearch"}, Run: elasticsearchRun, Cases: elasticsearchCases},
		{Name: "Cassandra", Rule: "listen-java", Source: "Cassandra, conf/jvm-server.options and conf/cassandra-env.sh", Keys: []string{"*cassandra*"}, Files: each(cassandraFiles),
			Names: []string{"cassandra"}, Images: []string{"cassandra"}, Run: cassandraRun, Cases: cassandraCases},
		{Name: "WildFly", Rule: "listen-java", Source: "wildfly-core, standalone.conf", Names: []string{"standalone.sh"}, Images: []string{"wildfly"}, Run: wildflyRun, Cases: wildflyCases},
		{Name: "VictoriaMetrics", Rule: "listen-go", Ran: "VictoriaMetrics 1.79.5", Source: "VictoriaMetrics, lib/netutil/tcplistener.go",
			Names: victoria, Images: victoriaImages, Run: victoriaRun, Cases: victoriaCases},
		{Name: "Vault", Rule: "listen-go", Source: "Vault, command/server/listener_tcp.go", Gist: []string{"listener"}, Files: each(vaultFiles),
			Names: []string{"vault", "bao"}, Images: []string{"vault", "openbao", "openbao-ubi"}, Run: vaultRun, Cases: vaultCases},
		{Name: "Loki, Mimir, Tempo", Rule: "listen-go", Source: "dskit, server/server.go", Keys: []string{"*.yaml", "*.yml"}, Gist: []string{"_listen_"}, Files: each(dskitFiles),
			Names:  []string{"loki", "promtail", "mimir", "tempo", "cortex", "pyroscope"},
			Images: []string{"loki", "promtail", "mimir", "tempo", "cortex", "pyroscope", "enterprise-logs", "enterprise-metrics"}, Run: dskitRun, Cases: dskitCases},
	}, addressedRows())
}
