package main

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

// stream judges objects of a cluster in the order of the text and returns "Kind/name: rule" of each finding, and
// "Kind/name: changed" of each object that would be created changed.
func stream(t *testing.T, text string) []string {
	t.Helper()
	s := newStored(rules.NewSet(rules.DefaultPolicy("IPv6")), report.NewStored())
	for doc := range strings.SplitSeq(text, "---\n") {
		raw, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		o, err := rules.ParseObject(raw)
		if err != nil {
			t.Fatal(err)
		}
		group, version, _ := cutVersion(o.APIVersion())
		s.add(rules.Target{Group: group, Version: version, Kind: o.Kind()}, o.Root())
	}
	s.finish()
	s.report.Finish(rules.Deny)
	got := []string{}
	for _, f := range s.report.Findings {
		got = append(got, f.Kind+"/"+f.Name+": "+f.Rule)
	}
	for _, o := range s.report.Objects {
		if o.Outcome == report.Changed {
			got = append(got, o.Kind+"/"+o.Name+": "+o.Outcome)
		}
	}
	return got
}

func workload(apiVersion, kind, name, owner, hostIP string) string {
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: shop, uid: uid-%[3]s%s}\nspec:\n  template:\n    spec:\n%s",
		apiVersion, kind, name, owner, containersWith("      ", hostIP))
}

func pod(name, owner, hostIP string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: shop, uid: uid-%[1]s%s}\nspec:\n%s", name, owner, containersWith("  ", hostIP))
}

func containersWith(indent, hostIP string) string {
	return indent + "containers: [{name: a, image: a, ports: [{containerPort: 80, hostPort: 80" + hostIP + "}]}]\n"
}

func ownedBy(name string) string {
	return ", ownerReferences: [{controller: true, uid: uid-" + name + ", kind: x, name: y}]"
}

// TestStoredOwners: what a controller made is not reported twice, and what admission has repaired is not reported.
func TestStoredOwners(t *testing.T) {
	const ipv4 = ", hostIP: 0.0.0.0"
	deployment := workload("apps/v1", "Deployment", "web", "", ipv4)
	replicaSet := workload("apps/v1", "ReplicaSet", "web-1", ownedBy("web"), ipv4)
	for _, tt := range []struct {
		name string
		in   []string
		want []string
	}{
		{"a deployment without pods", []string{deployment, replicaSet}, []string{"Deployment/web: host-port-ipv4"}},
		{"its pods have the fault too", []string{deployment, replicaSet, pod("web-1-a", ownedBy("web-1"), ipv4), pod("web-1-b", ownedBy("web-1"), ipv4)},
			[]string{"Deployment/web: host-port-ipv4"}},
		{"its pods were repaired", []string{deployment, replicaSet, pod("web-1-a", ownedBy("web-1"), ""), pod("web-1-b", ownedBy("web-1"), "")}, []string{}},
		{"somebody put the fault into its pods", []string{workload("apps/v1", "Deployment", "web", "", ""), workload("apps/v1", "ReplicaSet", "web-1", ownedBy("web"), ""),
			pod("web-1-a", ownedBy("web-1"), ipv4), pod("web-1-b", ownedBy("web-1"), ipv4)}, []string{"Pod/web-1-a: host-port-ipv4", "Pod/web-1-a: changed"}},
		{"a controller that is not audited", []string{pod("a", ownedBy("operator"), ipv4), pod("b", ownedBy("operator"), ipv4)},
			[]string{"Pod/a: host-port-ipv4", "Pod/b: host-port-ipv4", "Pod/a: changed", "Pod/b: changed"}},
		{"finished and deleted pods", []string{pod("a", "", ipv4) + "status: {phase: Succeeded}\n", pod("b", ", deletionTimestamp: '2026-01-01T00:00:00Z'", ipv4)}, []string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := stream(t, strings.Join(tt.in, "---\n")); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestStoredEndpoints: the addresses of Pods are not those that a person gave.
func TestStoredEndpoints(t *testing.T) {
	service := func(name, selector string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: shop, uid: uid-" + name + "}\nspec: {" + selector + "ports: [{port: 80}]}\n"
	}
	endpoints := func(name string) string {
		return "apiVersion: v1\nkind: Endpoints\nmetadata: {name: " + name + ", namespace: shop, uid: uid-e-" + name + "}\nsubsets: [{addresses: [{ip: 192.0.2.1}]}]\n"
	}
	slice := func(name, service, owner string) string {
		return "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: " + name + ", namespace: shop, uid: uid-s-" + name + ", labels: {kubernetes.io/service-name: " +
			service + "}" + owner + "}\naddressType: IPv4\nendpoints: [{addresses: [192.0.2.1]}]\n"
	}
	got := stream(t, strings.Join([]string{
		service("a", "selector: {app: a}, "), service("b", ""), service("c", ""),
		endpoints("a"), endpoints("b"),
		slice("a-1", "a", ownedBy("a")), slice("b-1", "b", ownedBy("e-b")), slice("c-1", "c", ""), slice("a-2", "a", ""),
	}, "---\n"))
	if want := []string{"EndpointSlice/c-1: endpoints-ipv4", "Endpoints/b: endpoints-ipv4"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// dualStack is what kube-apiserver v1.37 with two families stores of a Service; fields are what was sent.
func dualStackService(fields, annotations string) string {
	return `apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  uid: uid-web
  annotations: {` + annotations + `}
  managedFields:
  - {manager: kubectl, operation: Apply, fieldsType: FieldsV1, fieldsV1: {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}, "f:selector": {}` + fields + `}}}
  - {manager: cloud, operation: Update, subresource: status, fieldsV1: {"f:status": {}}}
spec:
  clusterIP: 10.96.0.9
  clusterIPs: [10.96.0.9, "fd00::9"]
  ipFamilies: [IPv4, IPv6]
  ipFamilyPolicy: PreferDualStack
  selector: {app: a}
  ports: [{port: 80, protocol: TCP, targetPort: 80}]
`
}

// TestStoredAllocation: families and addresses that the API server has allocated are no faults; those that were sent are.
func TestStoredAllocation(t *testing.T) {
	if got := stream(t, dualStackService(`, "f:ipFamilyPolicy": {}`, "")); len(got) > 0 {
		t.Errorf("only the policy was sent: %q", got)
	}
	if got := stream(t, dualStackService(`, "f:ipFamilies": {}`, "")); !slices.Equal(got, []string{"Service/web: service-ip-family", "Service/web: changed"}) {
		t.Errorf("families were sent: %q", got)
	}
	unmanaged := strings.ReplaceAll(dualStackService("", ""), "managedFields", "unmanagedFields")
	if got := stream(t, unmanaged); len(got) == 0 {
		t.Error("without managedFields everything counts as sent")
	}
}

// TestExplainStored: what is said of objects as kube-apiserver v1.37 stores them.
func TestExplainStored(t *testing.T) {
	const spec = "spec: {clusterIP: 'fd00::5', clusterIPs: ['fd00::5'], ipFamilies: [IPv6], ipFamilyPolicy: SingleStack, selector: {app: a}, ports: [{port: 80, protocol: TCP, targetPort: 80}]}\n"
	fields := func(manager, below string) string {
		return "  managedFields: [{manager: " + manager + ", operation: Apply, fieldsType: FieldsV1, fieldsV1: {'f:spec': {" + below + "}}}]\n"
	}
	for _, tt := range []struct{ name, in, want string }{
		{"applied", `apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: '{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop"},"spec":{"ipFamilies":["IPv4"],"ports":[{"port":80}],"selector":{"app":"a"}}}'
` + spec, `Service/web -n shop: compared with what kubectl apply sent, the annotation kubectl.kubernetes.io/last-applied-configuration
rules as policy.yaml sets them
changed: spec.ipFamilies[0]: changed "IPv4" to "IPv6", the only family of this cluster [service-ip-family]
    sent    "IPv4"
    stored  "IPv6"
undo service-ip-family: put the annotation sixgate.io/ignore.service-ip-family: "<reason>" into the manifest, then delete and create the object again; for all objects: rules: {service-ip-family: {mutate: false}} in the policy
    a cluster with IPv6 only refuses the Service then
`},
		{"server-side", "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  namespace: shop\n" + fields("helm", "'f:ipFamilies': {}, 'f:selector': {}") + spec,
			`Service/web -n shop: compared with the fields that helm sent, metadata.managedFields: they have no values
rules as policy.yaml sets them
not known: spec.ipFamilies was sent, by helm; if it was another value than the stored ["IPv6"], that is not recorded
changed: nothing that the object shows
`},
		{"pod of a controller", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web-1\n  namespace: shop\n  ownerReferences: [{controller: true, kind: ReplicaSet, name: web, uid: u}]\n" +
			fields("kube-controller-manager", `'f:containers': {'k:{"name":"a"}': {'.': {}, 'f:name': {}, 'f:image': {}, 'f:ports': {'.': {}, 'k:{"containerPort":80,"protocol":"TCP"}': {'.': {}, 'f:containerPort': {}, 'f:protocol': {}, 'f:hostIP': {}, 'f:hostPort': {}}}}}`) +
			"spec: {containers: [{name: a, image: a, env: [{name: KUBERNETES_SERVICE_HOST, value: api.example.net}, {name: KUBERNETES_SERVICE_PORT, value: '6443'}, {name: KUBERNETES_SERVICE_PORT_HTTPS, value: '6443'}], ports: [{containerPort: 80, hostPort: 80, protocol: TCP}]}]}\n",
			`Pod/web-1 -n shop: compared with the fields that kube-controller-manager sent, metadata.managedFields: they have no values
rules as policy.yaml sets them
changed: spec.containers[0].env: adds KUBERNETES_SERVICE_HOST=api.example.net and its port [api-server-host]
removed: spec.containers[0].ports[0].hostIP was sent, by kube-controller-manager, and is not stored: Sixgate by host-port-ipv4, or another webhook; its value is not recorded
undo api-server-host: put the annotation sixgate.io/ignore.api-server-host: "<reason>" into the pod template that ReplicaSet/web is made from, then delete and create the object again; for all objects: rules: {api-server-host: {mutate: false}} in the policy
undo host-port-ipv4: put the annotation sixgate.io/ignore.host-port-ipv4: "<reason>" into the pod template that ReplicaSet/web is made from, then delete and create the object again; for all objects: rules: {host-port-ipv4: {mutate: false}} in the policy
`},
		{"no record", "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n" + spec,
			"Service/web -n shop: what was sent is not recorded: it has no managedFields and no annotation kubectl.kubernetes.io/last-applied-configuration\nrules as policy.yaml sets them\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw, err := yaml.YAMLToJSON([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			o, err := rules.ParseObject(raw)
			if err != nil {
				t.Fatal(err)
			}
			policy, err := rules.ReadPolicy([]byte("apiVersion: sixgate.io/v1alpha1\nkind: Policy\ncluster: {families: [IPv6]}\napiServer: {host: api.example.net, port: 6443}\n"))
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := writeExplanation(&out, o, rules.NewSet(policy), "policy.yaml"); err != nil {
				t.Fatal(err)
			}
			const last = "each change is in the audit log of the API server, as the annotation mutate.sixgate.io/changed, where that is switched on\n"
			if got := out.String(); got != tt.want+last {
				t.Errorf("got\n%s", got)
			}
		})
	}
}

// TestReportMemory: what an audit keeps for an object with a finding, and for its report in the cluster.
func TestReportMemory(t *testing.T) {
	const objects = 4000
	size := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	r := report.NewStored()
	r.Brief = true
	s := newStored(rules.NewSet(rules.DefaultPolicy("IPv6")), r)
	before := size()
	for i := range objects {
		o, err := rules.ParseObject(fmt.Appendf(nil, `{"metadata":{"name":"web-%[1]d","namespace":"team-%[2]d","uid":"3f2b8c1a-0000-0000-0000-%012[1]d"},"spec":{`+
			`"containers":[{"name":"web","image":"a","ports":[{"containerPort":80,"hostPort":80,"hostIP":"0.0.0.0"}]}]}}`, i, i%20))
		if err != nil {
			t.Fatal(err)
		}
		s.add(rules.Target{Version: "v1", Kind: "Pod"}, o.Root())
	}
	s.finish()
	r.Finish(rules.None)
	reports := r.ObjectReports()
	each := (size() - before) / objects
	t.Logf("%d bytes for each object with a finding", each)
	if each > 3000 || len(reports) != objects {
		t.Errorf("%d bytes for each of %d reports", each, len(reports))
	}
	runtime.KeepAlive(s)
}

// TestStoredSize: what is kept of an object that nothing is found in, and of that what belongs to the report.
func TestStoredSize(t *testing.T) {
	const objects = 20000
	size := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	s := newStored(rules.NewSet(rules.DefaultPolicy("IPv6")), report.NewStored())
	before := size()
	for _, kind := range []struct{ apiVersion, kind, text string }{
		{"apps/v1", "Deployment", `"spec":{"template":{"metadata":{"labels":{"app":"web-%[1]d"}},"spec":{"containers":[{"name":"web","image":"a","ports":[{"name":"http","containerPort":8080}]}]}}}`},
		{"v1", "Pod", `"spec":{"containers":[{"name":"web","image":"a"}]}`},
		{"v1", "Service", `"spec":{"selector":{"app":"web-%[1]d"},"ports":[{"port":80,"targetPort":"http"}]}`},
		{"v1", "ConfigMap", `"data":{"a":"b"}`},
	} {
		group, version, _ := cutVersion(kind.apiVersion)
		for i := range objects / 4 {
			o, err := rules.ParseObject(fmt.Appendf(nil, `{"metadata":{"name":"web-%[1]d","namespace":"team-%[2]d","uid":"3f2b8c1a-%[3]s-%[1]d","labels":{"app":"web-%[1]d"}},`+kind.text+`}`, i, i%20, kind.kind))
			if err != nil {
				t.Fatal(err)
			}
			s.add(rules.Target{Group: group, Version: version, Kind: kind.kind}, o.Root())
		}
	}
	all := size()
	if n := len(s.report.Objects); n != objects {
		t.Fatalf("%d objects in the report", n)
	}
	s.report = report.NewStored()
	rest := (size() - before) / objects
	t.Logf("%d bytes for each object, %d without the report", (all-before)/objects, rest)
	if rest > 200 {
		t.Errorf("%d bytes for each object, want at most 200", rest)
	}
	runtime.KeepAlive(s)
}

// TestStoredFormats: a report on a cluster has names where one on files has lines, in every format.
func TestStoredFormats(t *testing.T) {
	s := newStored(rules.NewSet(rules.DefaultPolicy("IPv6")), report.NewStored())
	raw, err := yaml.YAMLToJSON([]byte(pod("web", "", ", hostIP: 0.0.0.0")))
	if err != nil {
		t.Fatal(err)
	}
	o, err := rules.ParseObject(raw)
	if err != nil {
		t.Fatal(err)
	}
	s.add(rules.Target{Version: "v1", Kind: "Pod"}, o.Root())
	s.finish()
	s.report.Finish(rules.Deny)
	dir := t.TempDir()
	for _, format := range report.Formats() {
		var out bytes.Buffer
		if err := s.report.Write(&out, format, report.Options{Version: "v1", FailOn: rules.Deny, Dir: dir, Root: dir, SourceURL: "https://example.net/{file}#L{line}"}); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		got := out.String()
		if !strings.Contains(got, "host-port-ipv4") || strings.Contains(got, "Pod/web:0") || strings.Contains(got, "#L0") || strings.Contains(got, "#L1") {
			t.Errorf("%s:\n%s", format, got)
		}
	}
}

// TestReadList: a list in any order of its fields, an empty one, and one that ends early.
func TestReadList(t *testing.T) {
	for _, tt := range []struct {
		in, token string
		items     int
		bad       bool
	}{
		{`{"kind":"List","metadata":{"continue":"x","remainingItemCount":3},"items":[{"a":1},{"b":[1,{}]}]}`, "x", 2, false},
		{`{"items":[{"a":1}],"metadata":{"continue":"y"},"other":{"a":[]}}`, "y", 1, false},
		{`{"metadata":{},"items":null}`, "", 0, false},
		{`{"metadata":{},"items":[]}`, "", 0, false},
		{`{"metadata":{"continue":"x"},"items":[{"a":1},{"b":`, "x", 1, true},
		{`{"metadata":{"continue":"x"},"items":[{"a":1}]`, "x", 1, true},
		{`{"items":{"a":1}}`, "", 0, true},
		{`[]`, "", 0, true},
		{``, "", 0, true},
	} {
		n := 0
		meta, err := readList(strings.NewReader(tt.in), func([]byte) { n++ })
		if n != tt.items || meta.Continue != tt.token || (err != nil) != tt.bad {
			t.Errorf("%s: %d items, token %q, %v", tt.in, n, meta.Continue, err)
		}
	}
}
