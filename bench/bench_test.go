package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
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

func TestPaired(t *testing.T) {
	var sent [2]int
	var lines []line
	for i, every := range []int{1, 4} {
		lines = append(lines, line{func(context.Context) error { sent[i]++; return nil }, every})
	}
	took, err := paired(t.Context(), lines, 40, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(took[0]) != 40 || len(took[1]) != 40 || len(present(took[0])) != 40 || len(present(took[1])) != 10 {
		t.Errorf("%d and %d blocks, %d and %d with a value", len(took[0]), len(took[1]), len(present(took[0])), len(present(took[1])))
	}
	if sent != [2]int{44, 11} { // with those that warm up
		t.Errorf("sent %v", sent)
	}
	lines[1].send = func(context.Context) error { return fs.ErrInvalid }
	if _, err := paired(t.Context(), lines, 40, 0); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("the error of a request is %v", err)
	}
}

// TestBootstrap holds the interval to a difference that is known, under noise that both lines share and is far greater.
func TestBootstrap(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var a, b []float64
	for i := range 400 {
		shared := 50 * random.Float64()
		a, b = append(a, shared+2+0.1*random.NormFloat64()), append(b, shared+0.1*random.NormFloat64())
		if i%4 != 0 {
			a[i] = math.NaN()
		}
	}
	v := bootstrap(len(a), addedMedian(a, b))
	if !(1.9 < v.low && v.low <= 2 && 2 <= v.high && v.high < 2.1 && v.low <= v.value && v.value <= v.high) {
		t.Errorf("a difference of 2 is %v", v)
	}
	// The slowest of a come when b is fast: no block has a difference of 90.
	for i := range a {
		a[i], b[i] = 10, 10
		switch i % 50 {
		case 0:
			a[i] = 100
		case 1:
			b[i] = 20
		}
	}
	if v := bootstrap(len(a), addedTail(a, b)); v.value != 80 {
		t.Errorf("100 over 20 at the p99 is %v", v)
	}
	var f figures
	for _, over := range []interval{{-2, -3, 0}, {1, -1, 2}, {2, 1, 3}} {
		f.bound("aim", "of", interval{}, "×", over)
	}
	for i, want := range []string{"yes", "unknown: noise", "**no**"} {
		if row := f.targets[i+1]; row[3] != want {
			t.Errorf("%v, want %s", row, want)
		}
	}
}

// TestReviews asks the floor as it is measured: the same proof that Sixgate must pass before it is.
func TestReviews(t *testing.T) {
	list, err := burdens("testdata")
	if err != nil {
		t.Fatal(err)
	}
	all, err := reviews(list)
	if err != nil || len(all) != 6 {
		t.Fatalf("%d reviews, %v", len(all), err)
	}
	for _, http2 := range []bool{false, true} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(answerFloor))
		server.EnableHTTP2 = true
		server.StartTLS()
		t.Cleanup(server.Close)
		d := direct{"floor", "", server.URL, server.Client().Transport.(*http.Transport).TLSClientConfig, http2}
		protocol, err := d.prove(t.Context(), all)
		if want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]; err != nil || protocol != want {
			t.Errorf("%s, want %s; %v", protocol, want, err)
		}
		if _, err := d.prove(t.Context(), []review{{"no repair", "/validate", true, all[0].body}}); err == nil {
			t.Error("an answer without a patch is taken for one")
		}
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
