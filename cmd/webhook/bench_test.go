package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	apijson "k8s.io/apimachinery/pkg/util/json"

	corev1 "k8s.io/api/core/v1"

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
		{"ConfigMap-logs-1MB", review("ConfigMap", "CREATE", benchConfigMap(map[string]any{"app.log": repeatTo(log, 1<<20)}), nil)},
		{"ConfigMap-yaml-1MB", review("ConfigMap", "CREATE", benchConfigMap(map[string]any{"app.yaml": repeatTo(page, 1<<20)}), nil)},
		{"ConfigMap-nginx-1MB", review("ConfigMap", "CREATE", benchConfigMap(map[string]any{"default.conf": repeatTo(server, 1<<20)}), nil)},
	}
}

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

// BenchmarkHandler is the whole HTTP handler, from the bytes of the AdmissionReview to the bytes of the answer.
// BenchmarkHandler/floor is what merely decoding the same bytes into generic JSON costs.
func BenchmarkHandler(b *testing.B) {
	set := benchSet(b)
	handlers := map[string]*handler{
		"mutate":   {name: "mutate", verb: mutateRequest, set: set, log: logr.Discard()},
		"validate": {name: "validate", verb: validateRequest(func(*corev1.ObjectReference, string) {}), set: set, log: logr.Discard()},
	}
	for _, c := range benchCases() {
		b.Run("floor/"+c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				var v map[string]any
				if err := apijson.Unmarshal(c.body, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, name := range []string{"mutate", "validate"} {
			b.Run(name+"/"+c.name, func(b *testing.B) {
				b.SetBytes(int64(len(c.body)))
				b.ReportAllocs()
				for b.Loop() {
					w := httptest.NewRecorder()
					r := httptest.NewRequest(http.MethodPost, "/"+name, bytes.NewReader(c.body))
					handlers[name].ServeHTTP(w, r)
					if w.Code != http.StatusOK {
						b.Fatal(w.Body)
					}
				}
			})
		}
	}
}
