package rules

import (
	"fmt"
	"runtime"
	"testing"
)

// TestIndexSize: what the index keeps of an object, where each has labels and ports of its own.
func TestIndexSize(t *testing.T) {
	const objects = 20000
	x := NewIndex(nil, "default")
	size := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := size()
	for i := range objects / 4 {
		ns := fmt.Sprintf("team-%d", i%20)
		for _, text := range []string{
			`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"web-%[2]d","namespace":%[1]q},"data":{"a":"b"}}`,
			`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web-%[2]d","namespace":%[1]q},
				"spec":{"selector":{"app.kubernetes.io/name":"web","app.kubernetes.io/instance":"web-%[2]d"},"ports":[{"port":80,"targetPort":"http"}]}}`,
			`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web-%[2]d","namespace":%[1]q},"spec":{"template":{
				"metadata":{"labels":{"app.kubernetes.io/name":"web","app.kubernetes.io/instance":"web-%[2]d"}},
				"spec":{"containers":[{"name":"web","ports":[{"name":"http","containerPort":8080}],"env":[{"name":"A","value":"b"},{"name":"IP","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}}]}],
				"volumes":[{"name":"a","configMap":{"name":"web-%[2]d"}}]}}}}`,
			`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"once-%[2]d","namespace":%[1]q,"labels":{"run":"once-%[2]d"}},
				"spec":{"containers":[{"name":"a","ports":[{"containerPort":80}]}]}}`,
		} {
			o, err := ParseObject(fmt.Appendf(nil, text, ns, i))
			if err != nil {
				t.Fatal(err)
			}
			x.Add(o)
		}
	}
	x.targetPort("team-1", map[string]any{"run": "once-1"}, "http") // sorts
	got := (size() - before) / objects
	if port := x.targetPort("team-1", map[string]any{"app.kubernetes.io/instance": "web-1"}, "http"); port != 8080 {
		t.Errorf("port %d", port)
	}
	t.Logf("%d bytes for each object", got)
	if got > 200 {
		t.Errorf("%d bytes for each object, want at most 200", got)
	}
	runtime.KeepAlive(x)
}
