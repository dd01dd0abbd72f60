//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apinet "k8s.io/apimachinery/pkg/util/net"

	"github.com/sixgate/sixgate/e2e/cluster"
	"github.com/sixgate/sixgate/pkg/manifest"
	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

// corpusEnv names a folder of many more manifests than are copied into testdata/corpus.
const corpusEnv = "SIXGATE_CORPUS"

// bareSixgate has no controller manager: the Pods of the corpus name ServiceAccounts that do not exist.
var bareSixgate = sync.OnceValues(func() (*installation, error) { return start(cluster.Options{}, true) })

// A source is a folder of manifests.
type source struct {
	dir     string
	files   []string
	samples []*sample
}

// corpus reads the copied selection, the examples and, where the environment names it, the whole corpus.
func corpus(t *testing.T) []*source {
	t.Helper()
	dirs := []string{filepath.Join("testdata", "corpus"), filepath.Join("..", "examples")}
	if dir := os.Getenv(corpusEnv); dir != "" {
		dirs = append(dirs, dir)
	} else {
		t.Logf("%s is not set: only the copied selection and the examples are used", corpusEnv)
	}
	var out []*source
	for _, dir := range dirs {
		out = append(out, readSource(t, dir))
	}
	return out
}

// A sample is one object of the corpus that Sixgate knows.
type sample struct {
	doc    *manifest.Document
	target rules.Target
	body   []byte // what is posted
}

func (s *sample) String() string {
	return fmt.Sprintf("%s:%d %s %s", s.doc.File, s.doc.Line, s.doc.Object.Kind(), s.doc.Object.Name())
}

func (s *sample) key() string { return fmt.Sprintf("%s#%d/%d", s.doc.File, s.doc.Number, s.doc.Item) }

// namespace is where the object goes: as kubectl does, default where it names none.
func (s *sample) namespace() string { return cmp.Or(s.doc.Object.Namespace(), "default") }

// path is the collection it is posted to.
func (s *sample) path() string {
	path := "/api/v1"
	if s.target.Group != "" {
		path = "/apis/" + s.target.Group + "/" + s.target.Version
	}
	if !s.target.Cluster {
		path += "/namespaces/" + url.PathEscape(s.namespace())
	}
	return path + "/" + s.target.Resource
}

// readSource reads a folder and all below it. Objects of an API version that the API server does not serve any more are
// counted and left out.
func readSource(t *testing.T, dir string) *source {
	t.Helper()
	targets, kinds := map[string]rules.Target{}, map[string]bool{}
	for _, r := range rules.All() {
		for _, target := range r.Targets {
			if target.Subresource == "" && !target.AuditOnly {
				targets[target.Group+"/"+target.Version+" "+target.Kind] = target
				kinds[target.Kind] = true
			}
		}
	}
	out := &source{dir: dir}
	objects, documents, unserved := map[string]int{}, 0, map[string]int{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		out.files = append(out.files, path)
		docs, _ := manifest.Read(path, f) // audit says what cannot be read
		documents += len(docs)
		for _, doc := range docs {
			version := doc.Object.Str("apiVersion")
			key := version + " " + doc.Object.Kind()
			if !strings.Contains(version, "/") {
				key = "/" + key
			}
			target, ok := targets[key]
			if !ok {
				if kinds[doc.Object.Kind()] {
					unserved[strings.TrimPrefix(key, "/")]++
				}
				continue
			}
			s := &sample{doc: doc, target: target}
			if s.body, err = postable(doc.JSON); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
			out.samples = append(out.samples, s)
			objects[target.Kind]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.samples) == 0 {
		t.Fatalf("no objects in %s", dir)
	}
	t.Logf("%s: %d files, %d objects, used: %d: %s", dir, len(out.files), documents, len(out.samples), table(objects))
	if len(unserved) > 0 {
		t.Logf("%s: of versions that are no longer served: %s", dir, table(unserved))
	}
	return out
}

// postable removes what belongs to a stored object and not to a creation; every server gets these bytes. Namespaces are made
// where they are missing, and nothing stays after its request (a dry run, or a deletion), so that namespaces, names, node
// ports and addresses can be those of the manifest.
func postable(raw []byte) ([]byte, error) {
	o, err := rules.ParseObject(raw)
	if err != nil {
		return nil, err
	}
	for _, key := range []string{"resourceVersion", "uid", "selfLink", "creationTimestamp", "generation", "managedFields", "finalizers", "deletionTimestamp"} {
		o.Remove(rules.Path{"metadata", key})
	}
	return json.Marshal(o.Root())
}

// table is a map of counts on one line.
func table(counts map[string]int) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%s %d", k, counts[k]))
	}
	return strings.Join(out, ", ")
}

// An apiServer is spoken to without a kubectl process for each of thousands of requests.
type apiServer struct {
	*http.Client
	url string
}

func (in *installation) api(t *testing.T) *apiServer { return &apiServer{in.client(t), in.URL} }

// An answer is what the API server said to one request.
type answer struct {
	code    int
	body    []byte
	status  metav1.Status // of a refusal
	sixgate []string      // warnings of ours
}

func (a *answer) ok() bool { return a.code < 300 }

// denied are the lines of Sixgate's refusal.
func (a *answer) denied() []string {
	text, ok := strings.CutPrefix(a.status.Message, `admission webhook "validate.sixgate.io" denied the request: `)
	if !ok {
		return nil
	}
	return strings.Split(text, "\n")
}

// reasons are those of a refusal, in an order of ours: the API server goes through annotations as through any map.
func (a *answer) reasons() []string {
	if a.status.Details == nil || len(a.status.Details.Causes) == 0 {
		return []string{a.status.Message}
	}
	var out []string
	for _, c := range a.status.Details.Causes {
		out = append(out, c.Field+": "+c.Message)
	}
	slices.Sort(out)
	return out
}

// ofFamily: the API server refused a Service for its families or addresses.
func (a *answer) ofFamily() bool {
	return a.code == http.StatusUnprocessableEntity && familyRefusal.MatchString(a.status.Message)
}

var (
	familyRefusal = regexp.MustCompile(`spec\.(ipFamilies|ipFamilyPolicy|clusterIPs?)\b`)
	ourWarning    = regexp.MustCompile(`\[(` + strings.Join(rules.IDs(), "|") + `)\]$`)
)

func (c *apiServer) do(t *testing.T, method, path string, body []byte) *answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	a := &answer{code: resp.StatusCode}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if !a.ok() {
		if err := json.Unmarshal(a.body, &a.status); err != nil {
			t.Fatalf("%s %s: %d %s", method, path, a.code, a.body)
		}
	}
	warnings, errs := apinet.ParseWarningHeaders(resp.Header["Warning"])
	if len(errs) > 0 {
		t.Errorf("%s %s: warnings: %v", method, path, errs)
	}
	for _, w := range warnings {
		if ourWarning.MatchString(w.Text) || strings.Contains(w.Text, "run sixgate audit") {
			a.sixgate = append(a.sixgate, w.Text)
		}
	}
	return a
}

// create posts an object. Unknown fields are pruned in silence: Sixgate must cope with what others mistype.
func (c *apiServer) create(t *testing.T, s *sample, body []byte, dryRun bool) *answer {
	t.Helper()
	path := s.path() + "?fieldValidation=Ignore"
	if dryRun {
		path += "&dryRun=All"
	}
	return c.do(t, http.MethodPost, path, body)
}

// createAndDelete posts an object for real: addresses and ports are allocated.
func (c *apiServer) createAndDelete(t *testing.T, s *sample) *answer {
	t.Helper()
	a := c.create(t, s, s.body, false)
	if a.ok() {
		name := decode(t, a.body).Name()
		if d := c.do(t, http.MethodDelete, s.path()+"/"+name, nil); !d.ok() {
			t.Fatalf("delete %s: %s", s, d.status.Message)
		}
	}
	return a
}

// makeNamespaces makes the namespaces that objects name.
func (c *apiServer) makeNamespaces(t *testing.T, all []*sample) {
	t.Helper()
	done := map[string]bool{}
	for _, s := range all {
		if s.target.Cluster || done[s.namespace()] {
			continue
		}
		done[s.namespace()] = true
		body, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": s.namespace()}})
		if err != nil {
			t.Fatal(err)
		}
		if a := c.do(t, http.MethodPost, "/api/v1/namespaces", body); !a.ok() && a.code != http.StatusConflict {
			t.Logf("namespace of %s: %s", s, a.status.Message)
		}
	}
}

func decode(t *testing.T, raw []byte) *rules.Object {
	t.Helper()
	o, err := rules.ParseObject(raw)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// audited is the report of `sixgate audit` on one source.
type audited struct {
	report.Report
	objects  map[string]*report.Object    // by sample.key
	findings map[string][]*report.Finding // by sample.key
}

func audit(t *testing.T, from *source, policy string) *audited {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := append([]string{"audit", "-o", "json", "--policy", policy}, from.files...) // of a folder it leaves out hidden ones
	out, err := exec.CommandContext(ctx, filepath.Join(root, "bin", "sixgate"), args...).Output()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && (exit.ExitCode() == 1 || exit.ExitCode() == 3)) {
		t.Fatalf("sixgate audit %s: %v", from.dir, err)
	}
	a := &audited{objects: map[string]*report.Object{}, findings: map[string][]*report.Finding{}}
	if err := json.Unmarshal(out, &a.Report); err != nil {
		t.Fatal(err)
	}
	key := func(at report.At) string { return fmt.Sprintf("%s#%d/%d", at.File, at.Document, at.Item) }
	for i := range a.Objects {
		a.objects[key(a.Objects[i].At)] = &a.Objects[i]
	}
	for i := range a.Findings {
		f := &a.Findings[i]
		a.findings[key(f.At)] = append(a.findings[key(f.At)], f)
	}
	return a
}

// TestCorpusAudit compares what `sixgate audit` says about every object with what the API server with Sixgate answers to
// its creation: the outcome, the texts, and the patch, which applied to the bytes that were posted gives what a server
// without Sixgate makes of them.
func TestCorpusAudit(t *testing.T) {
	with, without := get(t, bareSixgate), get(t, withoutSixgate)
	with.defineCustomResources(t)
	without.defineCustomResources(t)
	sixgate, plain := with.api(t), without.api(t)
	t.Logf("API server: %s", decode(t, plain.do(t, http.MethodGet, "/version", nil).body).Str("gitVersion"))
	sources := corpus(t)
	reports, counts := map[*source]*audited{}, map[*source]map[string]int{}
	for _, from := range sources {
		r := audit(t, from, with.policy)
		reports[from], counts[from] = r, map[string]int{}
		t.Logf("%s: audit: denied %d, changed %d, warned %d, clean %d, excluded %d; findings: %s", from.dir,
			r.Summary.Denied, r.Summary.Changed, r.Summary.Warned, r.Summary.Clean, r.Summary.Excluded, table(r.Summary.ByRule))
		for _, e := range r.Errors {
			t.Logf("audit: %s:%d: %s", e.File, e.Line, e.Message)
		}
	}
	for _, cluster := range []bool{true, false} { // a dry run of a Namespace that is there already is a conflict
		for _, from := range sources {
			if !cluster {
				sixgate.makeNamespaces(t, from.samples)
				plain.makeNamespaces(t, from.samples)
			}
			for _, s := range from.samples {
				if s.target.Cluster == cluster {
					counts[from][compare(t, sixgate, plain, s, reports[from])]++
				}
			}
		}
	}
	for _, from := range sources {
		t.Logf("%s: compared with the webhook: %s", from.dir, table(counts[from]))
	}
}

// compare posts one object, as a dry run, and returns what happened to it.
func compare(t *testing.T, sixgate, plain *apiServer, s *sample, report *audited) string {
	t.Helper()
	said, patched := report.objects[s.key()], s.body
	if said != nil && len(said.Patch) > 0 {
		patched = apply(t, s, said.Patch)
	}
	got, want := sixgate.create(t, s, s.body, true), plain.create(t, s, patched, true)
	denied := got.denied()
	if !got.ok() && denied == nil {
		if got.code != want.code || !slices.Equal(got.reasons(), want.reasons()) {
			t.Errorf("%s: refused with %d %q; its patched form without Sixgate: %d %q", s, got.code, got.status.Message, want.code, want.status.Message)
		}
		return "refused by the API server itself: " + string(got.status.Reason)
	}
	if !want.ok() {
		t.Errorf("%s: its patched form is refused without Sixgate: %s", s, want.status.Message)
	} else if denied == nil {
		if diff := difference("", volatile(t, got.body), volatile(t, want.body)); diff != "" {
			t.Errorf("%s: with Sixgate and patched by audit differ: %s", s, diff)
		}
	}

	outcome := "clean"
	switch {
	case denied != nil:
		outcome = "denied"
	case changes(t, plain, s, got):
		outcome = "changed"
	case len(got.sixgate) > 0:
		outcome = "warned"
	}
	expected := "clean" // an object that the policy excludes is not in the report
	if said != nil {
		expected = said.Outcome
	}
	if outcome != expected {
		t.Errorf("%s: audit says %s, the webhook %s: %q %q", s, expected, outcome, denied, got.sixgate)
	}
	compareTexts(t, s, report, denied, got.sixgate)
	for _, line := range append(denied, got.sixgate...) {
		t.Logf("%s: %s: %s", outcome, s, line)
	}
	return outcome
}

// changes reports whether the answer differs from that of a server without Sixgate.
func changes(t *testing.T, plain *apiServer, s *sample, got *answer) bool {
	t.Helper()
	a := plain.create(t, s, s.body, true)
	return !a.ok() || difference("", volatile(t, got.body), volatile(t, a.body)) != ""
}

// textLine is the line inside a configuration text; the report has it as a line of the file.
var textLine = regexp.MustCompile(`^(data\[".*?"\]|[^:]+):\d+: `)

// auditOnly: the webhook never asks this rule about such objects.
func auditOnly(rule string, o *rules.Object) bool {
	return slices.ContainsFunc(rules.All(), func(r *rules.Rule) bool {
		return r.ID == rule && slices.ContainsFunc(r.Targets, func(t rules.Target) bool {
			return t.AuditOnly && t.Group == o.Group() && t.Kind == o.Kind()
		})
	})
}

// compareTexts holds every line of the webhook to a finding of the report, and the other way round.
func compareTexts(t *testing.T, s *sample, report *audited, denied, warnings []string) {
	t.Helper()
	lines := warnings
	if denied != nil {
		lines = denied
	}
	findings := map[string]int{}
	var texts []string
	for _, f := range report.findings[s.key()] {
		if denied != nil && (f.Level != "deny" || f.Repaired) {
			continue // a refusal carries no warnings
		}
		if auditOnly(f.Rule, s.doc.Object) {
			continue
		}
		findings[f.Rule]++
		texts = append(texts, fmt.Sprintf("%s: %s [%s]", f.Path, f.Message, f.Rule))
	}
	if said := report.objects[s.key()]; said != nil && denied == nil {
		texts = append(texts, said.Changes...)
	}
	answered := map[string]int{}
	for _, line := range lines {
		rule := ourWarning.FindStringSubmatch(line)
		switch {
		case rule != nil:
		case strings.HasPrefix(line, "to keep it as it is, annotate the object with a reason: "):
			continue
		case strings.HasSuffix(line, "more findings; run sixgate audit on the manifest to see all"):
			return
		default:
			t.Fatalf("%s: the webhook says %q", s, line)
		}
		answered[rule[1]]++
		start, _, _ := strings.Cut(textLine.ReplaceAllString(line, "$1: "), "… [") // cut at 256 characters
		if !slices.ContainsFunc(texts, func(text string) bool { return strings.HasPrefix(text, start) }) {
			t.Errorf("%s: the webhook says %q, audit does not", s, line)
		}
	}
	if !maps.Equal(findings, answered) {
		t.Errorf("%s: findings of audit: %v, lines of the webhook: %v", s, findings, answered)
	}
}

// apply applies a patch to the bytes of an object.
func apply(t *testing.T, s *sample, patch any) []byte {
	t.Helper()
	raw, err := json.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	p, err := jsonpatch.DecodePatch(raw)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	out, err := p.Apply(s.body)
	if err != nil {
		t.Fatalf("%s: apply %s: %v", s, raw, err)
	}
	return out
}

// volatile is an answer without what each creation gets anew: uid (Jobs have it in labels too), times, a generated name,
// and the addresses and node ports of a Service.
func volatile(t *testing.T, raw []byte) any {
	t.Helper()
	o := decode(t, raw)
	raw = bytes.ReplaceAll(raw, []byte(o.Str("metadata", "uid")), []byte("UID"))
	if o.Str("metadata", "generateName") != "" {
		raw = bytes.ReplaceAll(raw, []byte(o.Name()), []byte("NAME"))
	}
	o = decode(t, raw)
	for _, key := range []string{"creationTimestamp", "managedFields", "resourceVersion"} {
		o.Remove(rules.Path{"metadata", key})
	}
	if o.Kind() == "Service" {
		if ip := o.Str("spec", "clusterIP"); ip != "" && ip != "None" {
			o.Remove(rules.Path{"spec", "clusterIP"})
			o.Remove(rules.Path{"spec", "clusterIPs"})
		}
		o.Remove(rules.Path{"spec", "healthCheckNodePort"})
		for i := range o.List("spec", "ports") {
			o.Remove(rules.Path{"spec", "ports", i, "nodePort"})
		}
	}
	return o.Root()
}

// difference is the first place where two trees differ, or "".
func difference(path string, a, b any) string {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			break
		}
		keys := maps.Clone(x)
		maps.Copy(keys, y)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			if d := difference(path+"."+k, x[k], y[k]); d != "" {
				return d
			}
		}
		return ""
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			break
		}
		for i := range x {
			if d := difference(fmt.Sprintf("%s[%d]", path, i), x[i], y[i]); d != "" {
				return d
			}
		}
		return ""
	}
	if reflect.DeepEqual(a, b) {
		return ""
	}
	return fmt.Sprintf("%s: %v, %v", path, a, b)
}

// TestCorpusServices posts every Service of the corpus for real: none is refused for its IP family with Sixgate, none that is
// accepted without it is refused with it, and on a dual-stack cluster Sixgate neither says nor does anything.
func TestCorpusServices(t *testing.T) {
	with, without, dual := get(t, bareSixgate), get(t, withoutSixgate), get(t, dualStack)
	requests := func(labels ...string) float64 {
		return dual.metric(t, 0, "sixgate_requests_total", append(labels, `kind="Service"`)...)
	}
	seen, allowed := requests(), requests(`result="allowed"`)
	for _, from := range corpus(t) {
		var services []*sample
		for _, s := range from.samples {
			if s.target.Kind == "Service" {
				services = append(services, s)
			}
		}
		counts := map[string]int{"services": len(services)}
		answers := func(in *installation) []*answer {
			c, out := in.api(t), []*answer(nil)
			c.makeNamespaces(t, services)
			for _, s := range services {
				out = append(out, c.createAndDelete(t, s))
			}
			return out
		}
		plain, repaired, silent := answers(without), answers(with), answers(dual)
		for i, s := range services {
			w, r, d := plain[i], repaired[i], silent[i]
			if w.ofFamily() {
				counts["refused for the IP family without Sixgate"]++
				t.Logf("without Sixgate: %s: %s", s, w.status.Message)
			} else if !w.ok() {
				counts["refused otherwise without Sixgate"]++
				t.Logf("without Sixgate: %s: %s", s, w.status.Message)
			}
			if r.ofFamily() {
				counts["refused for the IP family with Sixgate"]++
				t.Errorf("with Sixgate: %s: %s", s, r.status.Message)
			}
			if !r.ok() {
				counts["refused with Sixgate"]++
				if w.ok() {
					t.Errorf("%s is refused with Sixgate, and only then: %s", s, r.status.Message)
				}
			} else if f := decode(t, r.body).Strings("spec", "ipFamilies"); len(f) > 0 && !slices.Equal(f, []string{"IPv6"}) && !headlessWithoutSelector(s) {
				t.Errorf("with Sixgate: %s: stored with families %v", s, f)
			}
			if len(r.sixgate) > 0 {
				counts["with a warning of Sixgate"]++
			}

			if len(d.sixgate)+len(d.denied()) > 0 {
				t.Errorf("dual-stack: %s: %v %v", s, d.sixgate, d.denied())
			}
			if !d.ok() {
				counts["refused on dual-stack"]++
				if !slices.Equal(d.reasons(), w.reasons()) {
					t.Logf("dual-stack: %s: %s", s, d.status.Message)
				}
				continue
			}
			stored, sent := decode(t, d.body), decode(t, s.body)
			for _, field := range []string{"type", "ipFamilies", "ipFamilyPolicy", "clusterIP", "clusterIPs", "sessionAffinity", "externalIPs"} {
				want, ok := sent.Get("spec", field)
				if got, _ := stored.Get("spec", field); ok && !reflect.DeepEqual(got, want) && want != "" {
					t.Errorf("dual-stack: %s: spec.%s is %v, sent was %v", s, field, got, want)
				}
			}
		}
		t.Logf("%s: %s", from.dir, table(counts))
	}
	// What answers cannot show: the webhook was asked, and its own word for every answer is "allowed".
	if seen, allowed = requests()-seen, requests(`result="allowed"`)-allowed; seen == 0 || seen != allowed {
		t.Errorf("dual-stack: of %v requests %v were allowed as they are", seen, allowed)
	}
}

func headlessWithoutSelector(s *sample) bool {
	return s.doc.Object.Str("spec", "clusterIP") == "None" && len(s.doc.Object.Map("spec", "selector")) == 0
}

// TestCorpusKubectl sends one of these Services as a user does.
func TestCorpusKubectl(t *testing.T) {
	in := get(t, bareSixgate)
	file := filepath.Join("testdata", "corpus", "purelb__purelb", "deployments", "samples", "sample-nginx-lb.yaml")
	r := in.must(t, "", "apply", "-f", file)
	contains(t, r.err, `Warning: spec.ipFamilies[0]: dropped "IPv4", this cluster has only IPv6 [service-ip-family]`)
	contains(t, r.err, `Warning: spec.ipFamilyPolicy: changed "PreferDualStack" to "SingleStack", this cluster has one family [service-ip-family]`)
	if f := in.field(t, ".spec.ipFamilies[*]", "service", "nginx"); f != "IPv6" {
		t.Errorf("families %q", f)
	}
	in.must(t, "", "delete", "-f", file)
}

// unknownFields are what a Kubernetes newer than ours may send: the integer is above 2^53 and no float64.
const unknownFields = `"newerThanSixgate":{"integer":9007199254740993,"list":[18014398509481985,null,1.50,"a\u003cb"]},`

// TestCorpusBytes sends Services and Pods with unknown fields to the webhook itself, since an API server prunes those that it
// does not know: the patch applies to exactly the bytes that were sent, and leaves everything else as it is.
func TestCorpusBytes(t *testing.T) {
	in := get(t, bareSixgate)
	post := reviewer(t, in)
	for _, from := range corpus(t) {
		counts := map[string]int{}
		for _, s := range from.samples {
			if s.target.Kind != "Service" && s.target.Kind != "Pod" {
				continue
			}
			fields := 0
			for _, open := range []string{`{"apiVersion":`, `"metadata":{`, `"spec":{`, `"containers":[{`, `"initContainers":[{`, `"ports":[{`} {
				fields += bytes.Count(s.body, []byte(open))
				brace := strings.LastIndex(open, "{") + 1
				s.body = bytes.ReplaceAll(s.body, []byte(open), []byte(open[:brace]+unknownFields+open[brace:]))
			}
			if fields == 0 {
				t.Fatalf("%s: no place for an unknown field: %s", s, s.body)
			}
			counts["sent"]++
			resp := post(s)
			if resp == nil || !resp.Allowed {
				t.Errorf("%s: %+v", s, resp)
				continue
			}
			if len(resp.Patch) == 0 {
				continue
			}
			counts["patched"]++
			patched := apply(t, s, json.RawMessage(resp.Patch))
			if n := bytes.Count(patched, []byte(unknownFields[:len(unknownFields)-1])); n != fields {
				t.Errorf("%s: %d of %d unknown fields survive: %s", s, n, fields, patched)
			}
			// Without the fields it is what the same patch makes of the object without them: nothing else has moved.
			tree, stripped := decode(t, patched), *s
			stripped.body = bytes.ReplaceAll(s.body, []byte(unknownFields), nil)
			if d := difference("", strip(tree.Root()), any(decode(t, apply(t, &stripped, json.RawMessage(resp.Patch))).Root())); d != "" {
				t.Errorf("%s: %s", s, d)
			}
		}
		t.Logf("%s: %s", from.dir, table(counts))
	}
}

// strip removes the unknown fields from a tree.
func strip(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "newerThanSixgate")
		for _, child := range v {
			strip(child)
		}
	case []any:
		for _, child := range v {
			strip(child)
		}
	}
	return v
}

// reviewer returns a function that asks the mutating webhook over HTTPS, as the API server does.
func reviewer(t *testing.T, in *installation) func(*sample) *admissionv1.AdmissionResponse {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(in.bundle(t, "mutatingwebhookconfiguration"))) {
		t.Fatal("no CA in the registration")
	}
	url := "https://" + in.endpoints(t)[0] + "/mutate"
	h := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: webhookName, MinVersion: tls.VersionTLS12},
	}}
	t.Cleanup(h.CloseIdleConnections)
	return func(s *sample) *admissionv1.AdmissionResponse {
		t.Helper()
		// Put together as text: json.Marshal would compact the object, and its bytes are the point.
		request := fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"CREATE",`+
			`"kind":{"group":"","version":"v1","kind":%q},"resource":{"group":"","version":"v1","resource":%q},"namespace":%q,"object":%s}}`,
			s.target.Kind, s.target.Resource, s.namespace(), s.body)
		resp, err := h.Post(url, "application/json", strings.NewReader(request))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(resp.Body).Decode(&review); err != nil {
			t.Fatalf("%s: %s: %v", s, resp.Status, err)
		}
		return review.Response
	}
}
