package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// TestCheckersFindTheSame holds every program that can be asked to the faults of one file. What is not built is skipped: this test
// builds no peer.
func TestCheckersFindTheSame(t *testing.T) {
	want := faults{ // in two copies
		"service-ip-family Service/fault-families":           2,
		"service-ip-family Service/fault-dual-stack":         2,
		"service-ip-family Service/fault-cluster-ip":         2,
		"service-ipv4-address Service/fault-external-ip":     2,
		"service-ipv4-address Service/fault-load-balancer":   2,
		"host-port-ipv4 Pod/fault-host-port":                 2,
		"host-port-ipv4 Deployment/fault-host-port-template": 2,
		"host-port-ipv4 CronJob/fault-host-port-cron":        2,
	}
	policies, err := filepath.Glob("policies/*/*")
	if err != nil || len(policies) == 0 {
		t.Fatalf("no policies: %v", err)
	}
	for _, path := range policies { // so that go test knows what its cached result depends on
		if _, err := os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	bin, err := cluster.BuildSixgate(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	peers, missing := cluster.FindPeers(context.Background(), false, os.Stderr)
	if missing != nil && !errors.Is(missing, fs.ErrNotExist) {
		t.Fatal(missing)
	}
	once, err := collect(filepath.Join(t.TempDir(), "once"), []string{"testdata"})
	if err != nil {
		t.Fatal(err)
	}
	if once.files < 1 {
		t.Fatal("faults.yaml cannot be read by every program")
	}
	c, err := once.repeat(t.TempDir(), 2*once.bytes)
	if err == nil {
		err = c.join()
	}
	if err != nil {
		t.Fatal(err)
	}
	if c.objects != 2*once.objects {
		t.Fatalf("%d objects in two copies of %d", c.objects, once.objects)
	}
	for _, k := range checkers(filepath.Join(bin, "sixgate"), "policies", peers) {
		t.Run(k.name, func(t *testing.T) {
			program, args, stdin := k.command(c)
			if _, err := os.Stat(program); err != nil {
				t.Skipf("not built (%v): run make bench", missing)
			}
			r, err := execute(t.Context(), stdin, program, args...)
			if err != nil {
				t.Fatal(err)
			}
			if k.faults == nil {
				if len(r.stdout) == 0 {
					t.Fatalf("no output: %s", r.stderr)
				}
				return
			}
			found, err := k.faults(r)
			if err != nil {
				t.Fatal(err)
			}
			got, suffix := faults{}, regexp.MustCompile(`(-\d+){3}$`)
			for object, n := range found {
				got[suffix.ReplaceAllString(object, "")] += n
			}
			if !maps.Equal(got, want) {
				t.Errorf("%s, found %v", difference(want, got), got)
			}
			if r.peak <= 0 || r.cpu <= 0 {
				t.Errorf("peak %v MB, %v s of processors: not measured", r.peak, r.cpu)
			}
		})
	}
}

// TestFloorRepairs applies the floor's patches to the objects that are measured: what comes out needs no repair, and the others get none.
func TestFloorRepairs(t *testing.T) {
	list, err := burdens("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		review := []byte(`{"request":{"uid":"u","kind":{"kind":"` + map[string]string{"pods": "Pod", "services": "Service"}[o.resource] + `"},"object":` + string(o.body) + `}}`)
		for _, path := range []string{"/mutate", "/validate"} {
			w := httptest.NewRecorder()
			answerFloor(w, httptest.NewRequest("POST", path, bytes.NewReader(review)))
			var answer struct {
				Response struct {
					UID     string
					Allowed bool
					Patch   []byte
				}
			}
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Fatalf("%s: %v: %s", o.name, err, w.Body)
			}
			r := answer.Response
			if !r.Allowed || r.UID != "u" || (len(r.Patch) > 0) != (o.repair && path == "/mutate") {
				t.Errorf("%s %s: %s", o.name, path, w.Body)
			}
			after := o.body
			if len(r.Patch) > 0 {
				patch, err := jsonpatch.DecodePatch(r.Patch)
				if err != nil {
					t.Fatal(err)
				}
				if after, err = patch.Apply(o.body); err != nil {
					t.Fatal(err)
				}
			}
			if want := !o.repair || path == "/mutate"; repaired(after) != want && !o.skipped {
				t.Errorf("%s %s: repaired is %v in %s", o.name, path, !want, after)
			}
			if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(after, nil, nil); err != nil && !runtime.IsNotRegisteredError(err) {
				t.Errorf("%s: %v", o.name, err)
			}
		}
	}
}

func TestReadable(t *testing.T) {
	const object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	for text, want := range map[string]int{
		object:                       1,
		object + "---\n" + object:    2,
		"":                           0,
		"a: 1\n":                     0,
		"{{ template }}\n":           0,
		object + "data: [a]\n":       0,
		object + "---\nkind: List\n": 0,
		strings.Replace(object, "ConfigMap", "ConfigMapList", 1): 0,
	} {
		if got, ok := readable([]byte(text)); got*btoi(ok) != want {
			t.Errorf("%q: %d objects, %v; want %d", text, got, ok, want)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestStatistics(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	if got := spread(values, " ms"); got != "3.00 ms (1.00–5.00)" {
		t.Error(got)
	}
	if got := middle(values, "×"); got != "3.00× (2.00–4.00)" {
		t.Error(got)
	}
	if got := quantile(values, 0.99); got != 5 {
		t.Error(got)
	}
	if got := ratios([]float64{4, 1}, []float64{2, 0}); len(got) != 1 || got[0] != 2 {
		t.Error(got)
	}
}

func TestProcess(t *testing.T) {
	used, err := cpuTime(os.Getpid())
	if err != nil || used <= 0 {
		t.Errorf("processor time %v, %v", used, err)
	}
	resident, err := memory(os.Getpid(), "VmRSS")
	if err != nil || resident < 1 || resident > 10000 {
		t.Errorf("%v MB resident, %v", resident, err)
	}
	if _, err := memory(os.Getpid(), "VmNothing"); err == nil {
		t.Error("a size that does not exist was read")
	}
}
