package main

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/pkg/sockets"
)

// tables: TCP 8080 on IPv4, 8081 on IPv6, 8082 on loopback, and UDP 53 on IPv4.
const tables = `sl local_address rem_address st
0: 00000000:1F90 00000000:0000 0A 0:0 0:0 0 0 0 1
1: 0100007F:1F92 00000000:0000 0A 0:0 0:0 0 0 0 2
sl local_address remote_address st
0: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 3
sl local_address rem_address st drops
0: 00000000:0035 00000000:0000 07 0:0 0:0 0 0 0 4 2 0 0
sl local_address remote_address st drops
`

func TestProbePod(t *testing.T) {
	const six = "podIP: fd00::1, podIPs: [{ip: fd00::1}]"
	for _, c := range []struct {
		name, spec, status string
		services           []string
		assume             bool
		tables             string
		want               string
	}{
		{name: "number, name and default", status: six, spec: "containers: [{name: a, ports: [{name: http, protocol: UDP, containerPort: 53}]}, {name: b, ports: [{name: http, protocol: TCP, containerPort: 8082}]}]",
			services: []string{"ports: [{protocol: TCP, port: 80, targetPort: 8080}]", "ports: [{protocol: TCP, port: 80, targetPort: http}]", "ports: [{protocol: TCP, port: 8081}]",
				"ports: [{protocol: UDP, port: 53, targetPort: http}]", "ports: [{protocol: TCP, port: 1, targetPort: nobody}]"},
			want: `fault: port 53/UDP listens on IPv4 only (0.0.0.0:53); Service shop/s3 dials it over IPv6
fault: port 8080 listens on IPv4 only (0.0.0.0:8080); Service shop/s0 dials it over IPv6
fault: port 8082 listens on loopback only (127.0.0.1:8082); Service shop/s1 dials it over IPv6`},
		{name: "TCP is not UDP", status: six, spec: "containers: [{name: a}]",
			services: []string{"ports: [{protocol: UDP, port: 8081}, {protocol: TCP, port: 53}, {protocol: SCTP, port: 54}]"},
			want: `fault: nothing listens on port 53; Service shop/s0 dials it over IPv6
fault: nothing listens on port 8081/UDP; Service shop/s0 dials it over IPv6`},
		{name: "others", status: six, spec: "containers: [{name: a}]",
			services: []string{"selector: {app: other}\nports: [{protocol: TCP, port: 8080}]", "selector: {}\nports: [{protocol: TCP, port: 8080}]",
				"ipFamilies: [IPv4]\nports: [{protocol: TCP, port: 8080}]", "type: ExternalName\nports: [{protocol: TCP, port: 8080}]"}},
		{name: "dual-stack", status: "podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: fd00::1}]",
			spec:     "containers: [{name: a, readinessProbe: {httpGet: {port: 8080}}}]",
			services: []string{"ipFamilies: [IPv4, IPv6]\nports: [{protocol: TCP, port: 8080}]"},
			want:     "fault: port 8080 listens on IPv4 only (0.0.0.0:8080); Service shop/s0 dials it over IPv6"},
		{name: "IPv4", status: "podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}]", spec: "containers: [{name: a, readinessProbe: {httpGet: {port: 8080}}}]",
			services: []string{"ports: [{protocol: TCP, port: 8080}]"}},
		{name: "before the move", assume: true, status: "podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}]", spec: "containers: [{name: a, readinessProbe: {httpGet: {port: 8080}}}]",
			services: []string{"ipFamilies: [IPv4]\nports: [{protocol: TCP, port: 8080}]"},
			want:     "fault: port 8080 listens on IPv4 only (0.0.0.0:8080); Service shop/s0, readinessProbe of container a dial it over IPv6"},
		{name: "probes", status: six, spec: `
  initContainers:
  - {name: init, ports: [{protocol: TCP, containerPort: 8080}], readinessProbe: {tcpSocket: {port: 1}}}
  - {name: sidecar, restartPolicy: Always, startupProbe: {tcpSocket: {port: 8080}}}
  containers:
  - name: a
    ports: [{name: web, protocol: TCP, containerPort: 8082}]
    livenessProbe: {httpGet: {port: web}}
    readinessProbe: {httpGet: {port: 8080, host: 127.0.0.1}}
    startupProbe: {exec: {command: [x]}}
    lifecycle: {postStart: {httpGet: {port: "8080"}}, preStop: {httpGet: {port: 8083}}}
  - {name: b, livenessProbe: {grpc: {port: 8080}}, readinessProbe: {httpGet: {port: web}}}`,
			want: `fault: port 8080 listens on IPv4 only (0.0.0.0:8080); postStart of container a, livenessProbe of container b, startupProbe of container sidecar dial it over IPv6
fault: port 8082 listens on loopback only (127.0.0.1:8082); livenessProbe of container a dials it over IPv6
fault: nothing listens on port 8083; preStop of container a dials it over IPv6; not running: b, sidecar`,
		},
		{name: "declared", status: six, spec: "containers: [{name: a, ports: [{protocol: TCP, containerPort: 8080}, {protocol: TCP, containerPort: 8081}, {protocol: TCP, containerPort: 8082}, {protocol: TCP, containerPort: 9}]}, {name: b, ports: [{protocol: TCP, containerPort: 8080}]}]",
			want: `warn: port 8080 listens on IPv4 only (0.0.0.0:8080); container a, container b declare it
warn: port 8082 listens on loopback only (127.0.0.1:8082); container a declares it`},
		{name: "host network", status: six, spec: "hostNetwork: true\n  containers: [{name: a}]", services: []string{"ports: [{protocol: TCP, port: 8080}, {protocol: TCP, port: 9}]"},
			want: `fault: nothing listens on port 9; Service shop/s0 dials it over IPv6
fault: port 8080 listens on IPv4 only (0.0.0.0:8080); Service shop/s0 dials it over IPv6; the pod shares the network of its node, so it may be another process`},
		{name: "no IPv6 in the kernel", status: six, spec: "containers: [{name: a}]", services: []string{"ports: [{protocol: TCP, port: 8080}]"},
			tables: "sl local_address rem_address st\n0: 00000000:1F90 00000000:0000 0A 0:0 0:0 0 0 0 1\nsl local_address rem_address st drops\n",
			want:   "fault: port 8080 listens on IPv4 only (0.0.0.0:8080) on a node without IPv6; Service shop/s0 dials it over IPv6"},
		{name: "a table is missing", status: six, spec: "containers: [{name: a, ports: [{protocol: TCP, containerPort: 1}]}]", services: []string{"ports: [{protocol: TCP, port: 8080}]"},
			tables: "sl local_address rem_address st\n0: 00000000:1F90 00000000:0000 0A 0:0 0:0 0 0 0 1\n",
			want:   "do not know what listens on port 8080: a socket table is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var pod corev1.Pod
			text := "metadata: {name: p, namespace: shop, labels: {app: web}}\nstatus: {" + c.status + ", containerStatuses: [{name: a, state: {running: {}}}]}\nspec:\n  " + c.spec
			if err := yaml.UnmarshalStrict([]byte(text), &pod); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			var services []corev1.Service
			for i, spec := range c.services {
				var s corev1.Service
				if err := yaml.UnmarshalStrict([]byte(spec), &s.Spec); err != nil {
					t.Fatal(err)
				}
				s.Namespace, s.Name = "shop", fmt.Sprint("s", i)
				if s.Spec.Selector == nil {
					s.Spec.Selector = map[string]string{"app": "web"}
				}
				if s.Spec.IPFamilies == nil {
					s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
				}
				services = append(services, s)
			}
			if c.tables == "" {
				c.tables = tables
			}
			n, err := sockets.Read(strings.NewReader(c.tables))
			if err != nil {
				t.Fatal(err)
			}
			target := probeTarget{probePlace: probePlace{Namespace: "shop", Pod: "p"}, HostNetwork: pod.Spec.HostNetwork, IPv6: n.HasIPv6()}
			_, stopped := containersOf(&pod)
			findings, unknown := judge(&target, n, podUses(&pod, services, c.assume), stopped)
			var got []string
			for _, f := range findings {
				got = append(got, f.Level+": "+f.Message)
			}
			for _, u := range unknown {
				got = append(got, u.Message)
			}
			if s := strings.Join(got, "\n"); s != c.want {
				t.Errorf("got\n%s\nwant\n%s", s, c.want)
			}
		})
	}
}
