package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// A storage puts objects where the API server keeps them: by POST, two cores store some hundred a second.
type storage struct {
	c         *cluster.Cluster
	l         *loader
	templates []template // in the shares in which they are stored
	stored    int
}

// A template is an object that is stored again and again, with names of its own.
type template struct {
	burden
	prefix string         // of its key. Source: k8s.io/kubernetes, pkg/registry/core/rest, and registry.Store.KeyRootFunc
	object runtime.Object // as the API server would store it
}

// newStorage has the API server make what is stored: defaults are set, and all is valid.
func newStorage(ctx context.Context, c *cluster.Cluster, l *loader, testdata string) (*storage, error) {
	list, err := burdens(testdata)
	if err != nil {
		return nil, err
	}
	service, pod, faulty := list[0], list[2], list[3]
	// The API server gives each Service without an address one, and keeps count of those.
	service.body = bytes.Replace(service.body, []byte(`"spec":{`), []byte(`"spec":{"clusterIP":"None",`), 1)
	config := burden{name: "ConfigMap", resource: "configmaps"}
	if err := config.read(testdata, strings.TrimSpace); err != nil {
		return nil, err
	}
	s := &storage{c: c, l: l}
	for _, b := range []burden{faulty, pod, pod, pod, pod, service, config, config} {
		text, err := l.create(ctx, "default", b)
		if err != nil {
			return nil, err
		}
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(text, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", b.name, err)
		}
		prefix := "/registry/" + b.resource + "/default/"
		if b.resource == "services" {
			prefix = "/registry/services/specs/default/"
		}
		s.templates = append(s.templates, template{b, prefix, object})
	}
	return s, nil
}

// batch is the most that etcd takes in one transaction (--max-txn-ops).
const batch = 128

// fill stores objects until there are n.
func (s *storage) fill(ctx context.Context, n int) error {
	var next atomic.Int64
	next.Store(int64(s.stored))
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for client := range errs {
		wg.Go(func() {
			for errs[client] == nil {
				from := int(next.Add(batch)) - batch
				if from >= n {
					return
				}
				errs[client] = s.put(ctx, from, min(from+batch, n))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.stored = n
	return nil
}

// put stores some objects by one transaction. Source: etcd's gRPC gateway, api/etcdserverpb/rpc.proto.
func (s *storage) put(ctx context.Context, from, to int) error {
	type put struct {
		Key   []byte `json:"key"`
		Value []byte `json:"value"`
	}
	type operation struct {
		Put put `json:"requestPut"`
	}
	var operations []operation
	encoder := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	for i := from; i < to; i++ {
		t := s.templates[i%len(s.templates)]
		object := t.object.DeepCopyObject()
		m, err := meta.Accessor(object)
		if err != nil {
			return err
		}
		m.SetName(fmt.Sprintf("%s-%d", m.GetName(), i))
		m.SetUID(types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012x", i)))
		var value bytes.Buffer
		if err := encoder.Encode(object, &value); err != nil {
			return err
		}
		operations = append(operations, operation{put{[]byte(t.prefix + m.GetName()), value.Bytes()}})
	}
	body, err := json.Marshal(map[string]any{"success": operations})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.c.EtcdURL+"/v3/kv/txn", bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("store objects: %s: %s", resp.Status, firstLine(string(answer)))
	}
	return err
}

// prove checks that the API server has what was stored, and that the last of each kind is valid: it takes it back.
func (s *storage) prove(ctx context.Context) error {
	// The watch cache counts as up to date once it has the first object of a transaction.
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		counted, err := s.count(ctx)
		if err != nil {
			return err
		}
		if counted >= s.stored {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("the API server lists %d of %d objects", counted, s.stored)
		}
	}
	for i := max(0, s.stored-len(s.templates)); i < s.stored; i++ {
		t := s.templates[i%len(s.templates)]
		m, err := meta.Accessor(t.object)
		if err != nil {
			return err
		}
		text, err := s.kubectl(ctx, "", "get", t.resource, fmt.Sprintf("%s-%d", m.GetName(), i), "-o", "json")
		if err != nil {
			return err
		}
		if _, err := s.kubectl(ctx, text, "replace", "--dry-run=server", "-f", "-"); err != nil {
			return err
		}
	}
	return nil
}

// count returns how many objects the API server lists of the kinds that are stored, its own among them.
func (s *storage) count(ctx context.Context) (int, error) {
	counted := 0
	for _, resource := range []string{"pods", "services", "configmaps"} {
		text, err := s.kubectl(ctx, "", "get", "--raw", "/api/v1/namespaces/default/"+resource+"?limit=1")
		if err != nil {
			return 0, err
		}
		var list struct {
			Metadata struct{ RemainingItemCount int }
			Items    []struct{}
		}
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return 0, err
		}
		counted += list.Metadata.RemainingItemCount + len(list.Items)
	}
	return counted, nil
}

func (s *storage) kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	stdout, stderr, code, err := s.c.Kubectl(ctx, stdin, args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("kubectl %s: %s", strings.Join(args, " "), firstLine(stderr))
	}
	return stdout, err
}

// settle waits until a process has little to do: an API server reads what was stored, several times.
func settle(ctx context.Context, pid int) error {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end) && ctx.Err() == nil; {
		before, err := cpuTime(pid)
		if err != nil {
			return err
		}
		time.Sleep(time.Second)
		after, err := cpuTime(pid)
		if err != nil || after-before < 200*time.Millisecond {
			return err
		}
	}
	return ctx.Err()
}

// live measures the audit of a cluster with many objects.
func live(ctx context.Context, c *cluster.Cluster, l *loader, o options, root string, f *figures, out, log io.Writer) error {
	sizes, rounds := []int{10_000, 50_000}, 3
	if o.large {
		sizes = append(sizes, 200_000)
	}
	if o.short {
		sizes, rounds = []int{2000, 4000}, 1
	}
	s, err := newStorage(ctx, c, l, filepath.Join(root, "bench/testdata"))
	if err != nil {
		return err
	}
	fmt.Fprint(out, "### Audit of a cluster\n\nOf eight objects five are Pods, one of which lacks two variables and an annotation, one is a headless Service, two are ConfigMaps; 1 to 2 KB each. "+
		"They are written into etcd as the API server stores them. A page is a LIST of 500 objects; the API server counts what is left for each, one object after the other.\n\n")
	t := table{{"`sixgate audit --cluster`, objects", "seconds", "objects/s", "ms of processor for 1,000 objects: sixgate", "kube-apiserver", "requests", "of them pages", "peak MB resident: sixgate", "kube-apiserver, MB before", "peak"}}
	begin := time.Now()
	for _, size := range sizes {
		filling, was := time.Now(), s.stored
		if err := s.fill(ctx, size); err != nil {
			return err
		}
		fmt.Fprintf(log, "scale: %d objects stored, %.0f a second\n", size, float64(size-was)/time.Since(filling).Seconds())
		if err := s.prove(ctx); err != nil {
			return err
		}
		server := c.PID("kube-apiserver")
		if err := settle(ctx, server); err != nil {
			return err
		}
		resting, err := memory(server, "VmRSS")
		if err != nil {
			return err
		}
		var seconds, rate, cpu, api, asked, pages, peak []float64
		var last time.Duration
		for round := range rounds {
			if round > 0 && time.Since(begin)+last > o.limit {
				break
			}
			before, err := l.requests(ctx)
			if err != nil {
				return err
			}
			used, err := cpuTime(server)
			if err != nil {
				return err
			}
			r, err := execute(ctx, "", filepath.Join(root, "bin/sixgate"), "audit", "--cluster", "--kubeconfig", c.Kubeconfig,
				"--policy", filepath.Join(root, admissionPolicies, "sixgate.yaml"), "--fail-on=none", "-o", "json")
			if err != nil {
				return err
			}
			if r.code != 0 {
				return fmt.Errorf("audit of a cluster: exit code %d: %s", r.code, firstLine(r.stderr))
			}
			used2, err := cpuTime(server)
			if err != nil {
				return err
			}
			after, err := l.requests(ctx)
			if err != nil {
				return err
			}
			var report struct {
				Summary struct{ Objects, Changed int }
			}
			if err := json.Unmarshal(r.stdout, &report); err != nil {
				return fmt.Errorf("read report: %w: %s", err, firstLine(r.stderr))
			}
			if got := report.Summary; got.Objects < size || got.Changed < size/8 {
				return fmt.Errorf("audit of a cluster: %d of %d objects, %d of %d would be changed", got.Objects, size, got.Changed, size/8)
			}
			last = time.Duration(r.seconds * float64(time.Second))
			n := float64(size)
			seconds, rate, peak = append(seconds, r.seconds), append(rate, n/r.seconds), append(peak, r.peak)
			cpu, api = append(cpu, r.cpu*1e6/n), append(api, milliseconds(used2-used)*1000/n)
			asked, pages = append(asked, after["all"]-before["all"]), append(pages, after["LIST"]-before["LIST"])
			fmt.Fprintf(log, "scale: audit of %d objects: %.1f s, %.0f MB\n", size, r.seconds, r.peak)
		}
		most, err := memory(server, "VmHWM")
		if err != nil {
			return err
		}
		f.liveSeconds, f.liveCPU, f.liveMemory = median(seconds)/float64(size), median(cpu)/1e6, median(peak)
		t.row(fmt.Sprint(size), spread(seconds, ""), number(median(rate)), spread(cpu, ""), spread(api, ""), number(median(asked)), number(median(pages)), spread(peak, ""), number(resting), number(most))
	}
	fmt.Fprintln(out, t)
	return nil
}
