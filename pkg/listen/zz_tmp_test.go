package listen

import (
	"testing"
	"fmt"
)

func TestZZCand(t *testing.T) {
	for _, n := range []string{"redis.conf","haproxy.cfg","my.cnf","application.yaml","application.properties","settings.json","prometheus.yml","entrypoint.sh","LOG_LEVEL","app.log","default.conf"} {
		fmt.Println(n, Candidates(File{n, ""}))
	}
}
