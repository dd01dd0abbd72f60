//go:build e2e

package listen_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func runtimeServers() []server {
	return []server{
		{program: "Java", packages: []string{"openjdk-17-jre-headless", "zookeeper"}, binary: "java", prepare: zooKeeperFolder,
			command: func(_, file string) []string {
				registry := []string{"java", "-m", "java.rmi/sun.rmi.registry.RegistryImpl", "1099"}
				if strings.HasSuffix(file, ".options") {
					return append([]string{"java", "@" + file}, registry[1:]...)
				}
				// A key of a ConfigMap that becomes a variable.
				return append([]string{"sh", "-c", `export "$0=$(cat "$1")"; shift; exec "$@"`, filepath.Base(file), file}, registry...)
			}},
		{program: "Tomcat", packages: []string{"tomcat10"}, binary: "/usr/share/tomcat10/bin/catalina.sh", version: []string{"dpkg-query", "-W", "tomcat10"},
			prepare: func(t *testing.T, dir string) {
				for _, sub := range []string{"conf", "logs", "temp", "webapps", "work"} {
					if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
						t.Fatal(err)
					}
				}
				write(t, filepath.Join(dir, "conf", "web.xml"), "<web-app/>\n")
			},
			command: func(dir, file string) []string {
				return []string{"env", "CATALINA_BASE=" + dir, "CATALINA_HOME=/usr/share/tomcat10", "/usr/share/tomcat10/bin/catalina.sh", "run", "-config", file}
			}},
		{program: "ZooKeeper", packages: []string{"zookeeper"}, binary: "/usr/share/zookeeper/bin/zkServer.sh", version: []string{"dpkg-query", "-W", "zookeeper"}, prepare: zooKeeperFolder,
			command: func(_, file string) []string {
				return []string{"/usr/share/zookeeper/bin/zkServer.sh", "start-foreground", file}
			}},
		{program: "VictoriaMetrics", packages: []string{"victoria-metrics"}, binary: "victoria-metrics", version: []string{"dpkg-query", "-W", "victoria-metrics"}},
		{program: "Prometheus", packages: []string{"prometheus"}, binary: "prometheus"},
		{program: "Alertmanager", packages: []string{"prometheus-alertmanager"}, binary: "prometheus-alertmanager", prepare: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "alertmanager.yml"), "route: {receiver: none}\nreceivers: [{name: none}]\n")
		}},
		{program: "Prometheus exporters", packages: []string{"prometheus-node-exporter", "prometheus-pushgateway", "prometheus-blackbox-exporter"}, binary: "prometheus-blackbox-exporter",
			prepare: func(t *testing.T, dir string) {
				write(t, filepath.Join(dir, "blackbox.yml"), "modules: {tcp: {prober: tcp}}\n")
			}},
		{program: "etcd", packages: []string{"etcd-server"}, binary: "etcd", command: func(_, file string) []string { return []string{"etcd", "--config-file", file} }},
		{program: "NATS", packages: []string{"nats-server"}, binary: "nats-server", command: func(_, file string) []string { return []string{"nats-server", "-c", file} }},
		{program: "InfluxDB", packages: []string{"influxdb"}, binary: "influxd", version: []string{"influxd", "version"}, prepare: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "influxdb.conf"), "reporting-disabled = true\nbind-address = \"127.0.0.1:0\"\n")
		}, command: func(_, file string) []string { return []string{"influxd", "run", "-config", file} }},
		{program: "Docker Registry", packages: []string{"docker-registry"}, binary: "docker-registry", prepare: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "registry.yml"), "version: 0.1\nstorage: {filesystem: {rootdirectory: "+dir+"}}\nhttp: {addr: '127.0.0.1:5999'}\n")
		}, command: func(_, file string) []string { return []string{"docker-registry", "serve", file} }},
	}
}

// zooKeeperFolder is what ZooKeeper needs beside the case: a configuration for the cases that are command lines.
func zooKeeperFolder(t *testing.T, dir string) {
	write(t, filepath.Join(dir, "zoo.cfg"), "dataDir="+dir+"/data\nclientPort=2181\nadmin.enableServer=false\n")
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
