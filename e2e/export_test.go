//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/e2e/cluster"
	"github.com/sixgate/sixgate/pkg/export"
	"github.com/sixgate/sixgate/pkg/rules"
	"github.com/sixgate/sixgate/pkg/validate"
)

// dualStackAlone stores what an IPv6-only API server would not: Services that are older than the families.
var dualStackAlone = sync.OnceValues(func() (*installation, error) {
	return start(cluster.Options{ServiceCIDR: "fd00:10:96::/112,10.96.0.0/16"}, false)
})

// setUp marks requests that the exported policies must not see.
const setUp = "sixgate-test-setup"

// An exportCase is a test case of a rule.
type exportCase struct {
	name, subresource string
	rule              *rules.Rule
	target            *rules.Target // nil: the API server has no such kind
	in, old           map[string]any
}

// A policyGroup is the cases that one export serves.
type policyGroup struct {
	from   func() (*installation, error)
	policy *rules.Policy
	rule   string
	cases  []*exportCase
}

func exportGroups(t *testing.T) []*policyGroup {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	var out []*policyGroup
	byKey := map[string]*policyGroup{}
	for _, rule := range rules.All() {
		if rule.CEL == nil || rule.CEL.Never != "" {
			continue
		}
		files, err := filepath.Glob(filepath.Join(root, "pkg/rules/testdata", rule.ID, "*.txtar"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no cases of %s: %v", rule.ID, err)
		}
		for _, file := range files {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text := map[string]string{}
			for _, f := range archive.Files {
				text[f.Name] = string(f.Data)
			}
			c := &exportCase{name: strings.TrimSuffix(filepath.Base(file), ".txtar"), rule: rule, subresource: strings.TrimSpace(text["subresource"])}
			from, dual := withoutSixgate, ""
			for name, into := range map[string]*map[string]any{"in.yaml": &c.in, "old.yaml": &c.old} {
				if err := yaml.Unmarshal([]byte(text[name]), into); err != nil {
					t.Fatal(err)
				}
			}
			if spec, _ := c.old["spec"].(map[string]any); c.old != nil && c.old["kind"] == "Service" && strings.Contains(fmt.Sprint(spec["ipFamilies"]), "IPv4") {
				from, dual = dualStackAlone, "dual"
			}
			for i := range rule.Targets {
				if x := &rule.Targets[i]; strings.TrimPrefix(x.Group+"/"+x.Version, "/") == c.in["apiVersion"] && x.Kind == c.in["kind"] && x.Subresource == c.subresource {
					c.target = x
				}
			}
			if only := rule.CEL.Targets; len(only) > 0 && !slices.ContainsFunc(only, func(x rules.Target) bool {
				return x.Kind == c.in["kind"] && strings.TrimPrefix(x.Group+"/"+x.Version, "/") == c.in["apiVersion"]
			}) {
				continue // CEL.Differences says so
			}
			key := rule.ID + dual + text["policy.yaml"]
			g := byKey[key]
			if g == nil {
				g = &policyGroup{from: from, rule: rule.ID, policy: rules.DefaultPolicy("IPv6")}
				if text["policy.yaml"] != "" {
					if g.policy, err = rules.ReadPolicy([]byte(text["policy.yaml"])); err != nil {
						t.Fatal(err)
					}
					g.policy.Cluster.Families = []string{"IPv6"}
				}
				byKey[key] = g
				out = append(out, g)
			}
			g.cases = append(g.cases, c)
		}
	}
	return out
}

// A policyServer has the exported policies of one group after the other.
type policyServer struct {
	*installation
	client *http.Client
	paths  []string // of what was applied
	round  int
}

// An apiAnswer is what the API server said.
type apiAnswer struct {
	code     int
	message  string
	warnings []string // of the exported policies
	object   map[string]any
}

func (s *policyServer) send(t *testing.T, method, path string, object any) apiAnswer {
	t.Helper()
	var body io.Reader
	if object != nil {
		raw, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, s.URL+path, body) // in cleanups too
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out := apiAnswer{code: resp.StatusCode}
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &out.object); err != nil {
		t.Fatalf("%s: %s", resp.Status, raw)
	}
	if out.code >= 300 {
		out.message = fmt.Sprint(out.object["message"])
	}
	headers, errs := utilnet.ParseWarningHeaders(resp.Header["Warning"])
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, h := range headers {
		if strings.Contains(h.Text, "AdmissionPolicy") {
			out.warnings = append(out.warnings, h.Text)
		}
	}
	return out
}

const admissionPath = "/apis/admissionregistration.k8s.io/v1/"

var admissionResources = map[string]string{
	"MutatingAdmissionPolicy": "mutatingadmissionpolicies", "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings",
	"ValidatingAdmissionPolicy": "validatingadmissionpolicies", "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}

func (s *policyServer) remove(t *testing.T) {
	for _, path := range s.paths {
		if a := s.send(t, http.MethodDelete, path, nil); a.code >= 300 {
			t.Errorf("delete %s: %s", path, a.message)
		}
	}
	s.paths = nil
}

// use replaces the policies and returns when the API server has them: an expression that fails refuses the request, and what
// has the label setUp is not seen.
func (s *policyServer) use(t *testing.T, objects []runtime.Object) {
	t.Helper()
	s.remove(t)
	s.round++
	canary := fmt.Sprintf("canary-%d", s.round)
	var all []map[string]any
	for _, o := range objects {
		tree, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			t.Fatal(err)
		}
		spec := tree["spec"].(map[string]any)
		if _, ok := spec["policyName"]; ok {
			spec["matchResources"] = map[string]any{"objectSelector": map[string]any{"matchExpressions": []any{map[string]any{"key": setUp, "operator": "DoesNotExist"}}}}
		} else {
			spec["failurePolicy"] = "Fail"
		}
		all = append(all, tree)
	}
	const constraints = `"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]}`
	for kind, spec := range map[string]string{
		"ValidatingAdmissionPolicy": `{` + constraints + `, "validations": [{"expression": "object.metadata.?name.orValue('') != 'canary'", "message": "` + canary + `"}]}`,
		"MutatingAdmissionPolicy": `{` + constraints + `, "reinvocationPolicy": "Never", "matchConditions": [{"name": "canary", "expression": "object.metadata.?name.orValue('') == 'canary'"}],
			"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/data', value: {'canary': '` + canary + `'}}]"}}]}`,
		"ValidatingAdmissionPolicyBinding": `{"policyName": "` + canary + `", "validationActions": ["Warn"]}`,
		"MutatingAdmissionPolicyBinding":   `{"policyName": "` + canary + `"}`,
	} {
		var tree map[string]any
		if err := json.Unmarshal([]byte(spec), &tree); err != nil {
			t.Fatal(err)
		}
		all = append(all, map[string]any{"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": map[string]any{"name": canary}, "spec": tree})
	}
	for _, o := range all {
		path := admissionPath + admissionResources[o["kind"].(string)]
		if a := s.send(t, http.MethodPost, path, o); a.code >= 300 {
			t.Fatalf("create %s: %s", o["metadata"], a.message)
		}
		s.paths = append(s.paths, path+"/"+o["metadata"].(map[string]any)["name"].(string))
	}
	eventually(t, func() error {
		a := s.send(t, http.MethodPost, "/api/v1/namespaces/default/configmaps?dryRun=All", map[string]any{"metadata": map[string]any{"name": "canary"}})
		data, _ := a.object["data"].(map[string]any)
		if data["canary"] != canary || len(a.warnings) != 1 || !strings.Contains(a.warnings[0], canary) {
			return fmt.Errorf("the API server does not apply the policies yet: %d %s %q %v", a.code, a.message, a.warnings, data)
		}
		return nil
	})
}

func copyOf(object map[string]any) map[string]any { return runtime.DeepCopyJSON(toTree(object)) }

// toTree has the numbers of a tree as int64, which DeepCopyJSON wants.
func toTree(object map[string]any) map[string]any {
	raw, err := json.Marshal(object)
	if err != nil {
		panic(err) // it was read from JSON
	}
	o, err := rules.ParseObject(raw)
	if err != nil {
		panic(err)
	}
	return o.Root()
}

// unseen returns a copy that the policies do not see.
func unseen(object map[string]any) map[string]any {
	o := rules.NewObject(copyOf(object))
	o.Set(rules.Path{"metadata", "labels", setUp}, "")
	return o.Root()
}

// comparable returns what two requests with the same outcome have in common: nothing of the clock and nothing random.
func comparable(stored, sent map[string]any) map[string]any {
	o, request := rules.NewObject(copyOf(stored)), rules.NewObject(copyOf(sent))
	for _, field := range []string{"uid", "creationTimestamp", "managedFields", "resourceVersion", "generation"} {
		o.Remove(rules.Path{"metadata", field})
	}
	o.Remove(rules.Path{"status", "lastPhaseTransitionTime"})
	o.Remove(rules.Path{"metadata", "labels", setUp})
	if len(o.Map("metadata", "labels")) == 0 {
		o.Remove(rules.Path{"metadata", "labels"})
	}
	if o.Kind() != "Service" {
		return o.Root()
	}
	if request.Str("spec", "clusterIP") == "" {
		for i, ip := range o.Strings("spec", "clusterIPs") {
			if ip != "None" {
				o.Set(rules.Path{"spec", "clusterIPs", i}, map[bool]string{true: "IPv6", false: "IPv4"}[strings.Contains(ip, ":")])
			}
		}
		o.Remove(rules.Path{"spec", "clusterIP"}) // the first of them
	}
	for i := range o.List("spec", "ports") {
		port := rules.Path{"spec", "ports", i, "nodePort"}
		_, given := request.Get(port...)
		if _, ok := o.Get(port...); ok && !given {
			o.Set(port, "random")
		}
	}
	if _, ok := request.Get("spec", "healthCheckNodePort"); !ok {
		o.Remove(rules.Path{"spec", "healthCheckNodePort"})
	}
	return o.Root()
}

// TestExport: on every test case of every exported rule the API server gives the verdict and stores the object that the Go rule
// says, without any webhook.
func TestExport(t *testing.T) {
	servers := map[string]*policyServer{}
	same, different := 0, 0
	for _, g := range exportGroups(t) {
		in := get(t, g.from)
		s := servers[in.URL]
		if s == nil {
			s = &policyServer{installation: in, client: in.client(t)}
			servers[in.URL] = s
			t.Cleanup(func() { s.remove(t) })
		}
		t.Run(g.rule, func(t *testing.T) {
			result := export.Policies(rules.NewSet(g.policy), []string{g.rule}, nil)
			s.use(t, result.Objects)
			for _, c := range g.cases {
				if strings.HasPrefix(c.name, "custom-") { // neither registered nor exported: kinds that only an audit looks into
					continue
				}
				why := s.differs(t, rules.NewSet(g.policy), c)
				listed, ok := c.rule.CEL.Cases[c.name]
				switch {
				case why == "" && ok:
					t.Errorf("%s/%s is listed as different (%s) and is not", c.rule.ID, c.name, listed)
				case why == "":
					same++
				case ok:
					different++
					t.Logf("%s/%s: %s; listed: %s", c.rule.ID, c.name, why, listed)
				default:
					t.Errorf("%s/%s: %s", c.rule.ID, c.name, why)
				}
			}
		})
	}
	t.Logf("%d cases are the same, %d are listed as different", same, different)
}

// differs plays one case through the Go rule and through the API server, and says where the two part.
func (s *policyServer) differs(t *testing.T, set *rules.Set, c *exportCase) string {
	t.Helper()
	if c.target == nil {
		return fmt.Sprintf("the API server has no %v %v", c.in["apiVersion"], c.in["kind"])
	}
	metadata := c.in["metadata"].(map[string]any)
	namespace, _ := metadata["namespace"].(string)
	if namespace == "" {
		namespace = "default"
	}
	if a := s.send(t, http.MethodPost, "/api/v1/namespaces", map[string]any{"metadata": map[string]any{"name": namespace}}); a.code >= 300 && a.code != http.StatusConflict {
		t.Fatal(a.message)
	}
	path := "/apis/" + c.target.Group + "/" + c.target.Version
	if c.target.Group == "" {
		path = "/api/" + c.target.Version
	}
	if !c.target.Cluster {
		path += "/namespaces/" + namespace
	}
	path += "/" + c.target.Resource
	method, url := http.MethodPost, path+"?dryRun=All"

	sent := rules.NewObject(copyOf(c.in))
	req := &rules.Request{Object: sent, Operation: rules.Create, Subresource: c.subresource, Namespace: namespace, Policy: set.Policy()}
	if sent.Kind() == "Namespace" {
		defer s.removeNamespace(t, sent.Name())
		s.removeNamespace(t, sent.Name())
	}
	if c.old != nil {
		one := path + "/" + sent.Name()
		stored, why := s.store(t, path, one, c)
		defer func() {
			if sent.Kind() == "Namespace" {
				return
			}
			if a := s.send(t, http.MethodDelete, one+"?gracePeriodSeconds=0", nil); a.code >= 300 && a.code != http.StatusNotFound {
				t.Errorf("delete %s: %s", one, a.message)
			}
			eventually(t, func() error {
				if a := s.send(t, http.MethodGet, one, nil); a.code != http.StatusNotFound {
					return fmt.Errorf("%s is still there", one)
				}
				return nil
			})
		}()
		if why != "" {
			return why
		}
		req.Old, req.Operation = rules.NewObject(toTree(stored)), rules.Update
		method, url = http.MethodPut, one
		if c.subresource != "" {
			url += "/" + c.subresource
		}
		url += "?dryRun=All"
	}
	// What the webhook would make of it, and the API server of that.
	judgeAll := func() []*rules.Active {
		active, _ := set.Rules(req)
		return slices.DeleteFunc(slices.Clone(active), func(a *rules.Active) bool { return a.ID != c.rule.ID })
	}
	for _, a := range judgeAll() {
		for _, f := range a.Findings(req) {
			if f.Fix != nil && a.Repairs() {
				f.Fix(sent)
			}
		}
	}
	want := s.send(t, method, url, unseen(sent.Root()))
	if want.code == http.StatusConflict && namespace+"/"+sent.Name() != "default/kubernetes" {
		return "the object exists already: " + want.message
	}
	got := s.send(t, method, url, c.in)
	if why := failed(got); why != "" {
		return why
	}
	for _, o := range mutilated(c.in) {
		if why := failed(s.send(t, method, url, o)); why != "" {
			raw, _ := json.Marshal(o)
			return fmt.Sprintf("%s: %s", why, raw)
		}
	}
	if want.code >= 300 {
		if got.code != want.code || strings.Contains(got.message, "sixgate-") {
			return fmt.Sprintf("the API server itself says %d %s; with the policies %d %s", want.code, want.message, got.code, got.message)
		}
		return ""
	}
	final := *req
	stored := rules.NewObject(toTree(want.object))
	stored.Remove(rules.Path{"metadata", "labels", setUp})
	final.Object = stored
	verdict := validate.Verdict{}
	if c.subresource == "" { // the validating webhook is not asked about subresources
		verdict = validate.Judge(set, &final)
	}
	ours := func(f rules.Finding) bool { return f.Rule.ID != c.rule.ID }
	denied, warned := slices.DeleteFunc(verdict.Denied, ours), slices.DeleteFunc(verdict.Warned, ours)
	facts := func(text string, findings []rules.Finding) string {
		for _, f := range findings {
			if !strings.Contains(text, f.String()) {
				return fmt.Sprintf("%q is not in %q", f.String(), text)
			}
		}
		return ""
	}
	switch {
	case len(denied) > 0:
		if got.code != http.StatusForbidden || !strings.Contains(got.message, "sixgate-"+c.rule.ID+"-deny") || len(got.warnings) > 0 ||
			!strings.Contains(got.message, rules.OptOutPrefix+c.rule.ID) {
			return fmt.Sprintf("the rule denies, the API server says %d %s %q", got.code, got.message, got.warnings)
		}
		return facts(got.message, denied)
	case got.code >= 300:
		return fmt.Sprintf("the rule accepts, the API server says %d %s", got.code, got.message)
	case len(warned) > 0 != (len(got.warnings) > 0):
		return fmt.Sprintf("the rule warns %v, the API server %q", warned, got.warnings)
	case len(warned) > 0:
		if why := facts(strings.Join(got.warnings, "\n"), warned); why != "" {
			return why
		}
	}
	if a, b := comparable(want.object, sent.Root()), comparable(got.object, sent.Root()); !reflect.DeepEqual(a, b) {
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		return fmt.Sprintf("the rule stores\n%s\nthe API server\n%s", x, y)
	}
	return ""
}

// failed says which expression of a policy could not be evaluated.
func failed(a apiAnswer) string {
	if _, why, ok := strings.Cut(a.message, "resulted in error: "); ok {
		return "an expression fails: " + why
	}
	if strings.Contains(a.message, "JSONPath") || strings.Contains(a.message, "JSON Patch") || strings.Contains(a.message, "cost") {
		return "a patch fails: " + a.message
	}
	return ""
}

// mutilated returns an object without each of its parts, and with each emptied: clients send what the API server has yet to refuse.
func mutilated(object map[string]any) []map[string]any {
	var out []map[string]any
	var walk func(v any, at rules.Path)
	walk = func(v any, at rules.Path) {
		if len(at) > 1 {
			o := rules.NewObject(copyOf(object))
			o.Remove(at)
			out = append(out, o.Root())
		}
		var empty any
		switch v := v.(type) {
		case map[string]any:
			empty = map[string]any{}
			for k, e := range v {
				walk(e, at.With(k))
			}
		case []any:
			empty = []any{}
			for i, e := range v {
				walk(e, at.With(i))
			}
		case string:
			empty = ""
		default:
			empty = int64(0)
		}
		if len(at) > 1 {
			o := rules.NewObject(copyOf(object))
			o.Set(at, empty)
			out = append(out, o.Root())
		}
	}
	walk(copyOf(object), nil)
	spec := rules.NewObject(copyOf(object))
	spec.Remove(rules.Path{"spec"})
	return append(out, spec.Root())
}

// removeNamespace deletes a Namespace for good: no controller does it here.
func (s *policyServer) removeNamespace(t *testing.T, name string) {
	t.Helper()
	path := "/api/v1/namespaces/" + name
	if a := s.send(t, http.MethodDelete, path, nil); a.code == http.StatusNotFound {
		return
	}
	o := s.send(t, http.MethodGet, path, nil)
	if o.code == http.StatusOK {
		o.object["spec"] = map[string]any{}
		if a := s.send(t, http.MethodPut, path+"/finalize", o.object); a.code >= 300 {
			t.Fatal(a.message)
		}
	}
	eventually(t, func() error {
		if a := s.send(t, http.MethodGet, path, nil); a.code != http.StatusNotFound {
			return fmt.Errorf("namespace %s is still there", name)
		}
		return nil
	})
}

// store makes the object that an UPDATE starts from.
func (s *policyServer) store(t *testing.T, path, one string, c *exportCase) (stored map[string]any, why string) {
	t.Helper()
	old := rules.NewObject(unseen(c.old))
	ephemeral := old.List("spec", "ephemeralContainers")
	old.Remove(rules.Path{"spec", "ephemeralContainers"})
	if a := s.send(t, http.MethodPost, path, old.Root()); a.code >= 300 {
		return nil, "the API server does not store old.yaml: " + a.message
	}
	if ephemeral != nil {
		old.Set(rules.Path{"spec", "ephemeralContainers"}, ephemeral)
		if a := s.send(t, http.MethodPut, one+"/ephemeralcontainers", old.Root()); a.code >= 300 {
			return nil, "the API server does not store the ephemeral containers: " + a.message
		}
	}
	return s.send(t, http.MethodGet, one, nil).object, ""
}

// withControllers has a controller manager, which checks the types of policies and makes Pods, and no webhook.
var withControllers = sync.OnceValues(func() (*installation, error) { return start(cluster.Options{ControllerManager: true}, false) })

// TestExportCommand applies what the command writes, all rules at once, and sends manifests in the ways that clients have.
func TestExportCommand(t *testing.T) {
	in := get(t, withControllers)
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	ns := in.namespace(t, "export")
	// Older than the policies.
	bad := `, ports: [{containerPort: 80, hostPort: 8080, hostIP: 127.0.0.1}]`
	in.must(t, deployment(ns, "old", bad), "apply", "-f", "-")

	file := filepath.Join(in.Dir, "policy.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(policyText, "headless/*", "export/headless-*", 1)+"- {namespaces: [export], ipv6Pools: [default-ipv6-ippool]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(root, "bin", "sixgate"), "export", "--policy", file)
	manifests, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	r := in.must(t, string(manifests), "apply", "-f", "-")
	if r.err != "" {
		t.Errorf("kubectl warns: %s", r.err)
	}
	t.Cleanup(func() {
		in.must(t, "", "delete", "-l", "app.kubernetes.io/component=exported-policy",
			"mutatingadmissionpolicies,mutatingadmissionpolicybindings,validatingadmissionpolicies,validatingadmissionpolicybindings")
		if left := in.must(t, string(manifests), "get", "--ignore-not-found", "-o", "name", "-f", "-").out; left != "" {
			t.Errorf("not deleted: %s", left)
		}
	})

	ipv4 := service(ns, "web", "ipFamilies: [IPv4]")
	eventually(t, func() error {
		if r := in.run(t, ipv4, "apply", "--dry-run=server", "-f", "-"); r.code != 0 {
			return errors.New(r.err)
		}
		if r := in.run(t, deployment(ns, "new", bad), "apply", "--dry-run=server", "-f", "-"); r.code == 0 {
			return errors.New("a host port on 127.0.0.1 is accepted")
		}
		return nil
	})
	for name, want := range map[string][2]string{
		"web":          {"ipFamilies: [IPv4]", `["IPv6"]`},
		"dual":         {"ipFamilies: [IPv4, IPv6]\nipFamilyPolicy: RequireDualStack", `["IPv6"]`},
		"literal":      {"clusterIP: 10.96.0.53", `["IPv6"]`},
		"headless-web": {"clusterIP: 10.96.0.54\nipFamilies: [IPv4]", `["IPv6"]`},
	} {
		for step, way := range []string{"dry run", "apply", "apply", "replace", "server-side apply", "server-side apply", "apply"} {
			if r := in.run(t, service(ns, name, want[0]), clientWays[way]...); r.code != 0 {
				t.Errorf("%s: step %d, %s: %s", name, step, way, r.err)
			} else if way != "dry run" {
				in.expect(t, want[1], ".spec.ipFamilies", "service", name, "-n", ns)
			}
		}
	}
	in.expect(t, "None", ".spec.clusterIP", "service", "headless-web", "-n", ns)
	for name, c := range map[string][2]string{
		"plain": {`, ports: [{containerPort: 80, hostPort: 8081, hostIP: 0.0.0.0}]`, apiServerVars},
		"env": {`, env: [{name: Z, value: "1"}, {name: A, value: $(KUBERNETES_SERVICE_HOST)}, {name: ME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]`,
			apiServerVars + " Z A ME"},
	} {
		for step, way := range []string{"apply", "apply", "replace", "replace", "server-side apply", "apply"} {
			if r := in.run(t, pod(ns, name, c[0]), clientWays[way]...); r.code != 0 {
				t.Errorf("%s: step %d, %s: %s", name, step, way, r.err)
			}
			in.expect(t, c[1], ".spec.containers[0]"+envNames, "pod", name, "-n", ns)
			in.expect(t, "", ".spec.containers[0].ports[0].hostIP", "pod", name, "-n", ns)
			if step == 0 { // kubectl replace takes it away; the CNI plugin has read it long ago
				in.expect(t, `["default-ipv6-ippool"]`, `.metadata.annotations.cni\.projectcalico\.org/ipv6pools`, "pod", name, "-n", ns)
			}
		}
	}

	// Refused with the facts and the way out, which works.
	const fact = `spec.template.spec.containers[0].ports[0].hostIP: "127.0.0.1" publishes on IPv4 only, port 8080 is unreachable`
	r = in.run(t, deployment(ns, "new", bad), "apply", "-f", "-")
	contains(t, r.err, fact)
	contains(t, r.err, "annotate the object with a reason: sixgate.io/ignore.host-port-ipv4")
	in.must(t, strings.Replace(deployment(ns, "new", bad), "namespace: "+ns, "namespace: "+ns+", annotations: {sixgate.io/ignore.host-port-ipv4: a test}", 1), "apply", "-f", "-")

	// What is older may go on; only what gets worse is refused.
	r = in.must(t, strings.Replace(deployment(ns, "old", bad), "image: x", "image: z", 1), "apply", "-f", "-")
	contains(t, r.err, fact)
	if r = in.must(t, "", "label", "deployment", "old", "-n", ns, "a=b"); r.err != "" {
		t.Errorf("a label is judged: %s", r.err)
	}
	in.must(t, "", "scale", "deployment", "old", "-n", ns, "--replicas=2")
	r = in.run(t, strings.Replace(deployment(ns, "old", bad), "127.0.0.1}", "127.0.0.1}, {containerPort: 81, hostPort: 8082, hostIP: 127.0.0.1}", 1), "apply", "-f", "-")
	contains(t, r.err, "port 8082 is unreachable")
	if r.code == 0 {
		t.Error("a second host port on 127.0.0.1 is accepted")
	}
	// What a controller makes is never refused: the Pods of the Deployment come.
	in.pods(t, ns, "app=old", 3) // there is no node, so the surge of the new image stays
	owned := strings.Replace(pod(ns, "owned", bad), "namespace: "+ns, "namespace: "+ns+", ownerReferences: [{apiVersion: example.com/v1, kind: Thing, name: x, uid: 8d0c9f6e-1111-4222-8333-444444444444, controller: true}]", 1)
	r = in.must(t, owned, "create", "-f", "-", "--dry-run=server")
	contains(t, r.err, `spec.containers[0].ports[0].hostIP: "127.0.0.1"`)

	// The API server finds nothing in the types of the expressions.
	eventually(t, func() error {
		list := in.object(t, "validatingadmissionpolicies")
		for _, item := range list["items"].([]any) {
			o := rules.NewObject(item.(map[string]any))
			generation, _ := o.Get("metadata", "generation")
			if seen, _ := o.Get("status", "observedGeneration"); seen != generation {
				return fmt.Errorf("the types of %s have not been checked", o.Name())
			}
			if w := o.List("status", "typeChecking", "expressionWarnings"); len(w) > 0 {
				raw, _ := json.Marshal(w)
				return fmt.Errorf("%s: %s", o.Name(), raw)
			}
		}
		return nil
	})
}

// TestExportLarge: objects larger than most are still judged, by all rules at once: no expression runs into the cost limit.
func TestExportLarge(t *testing.T) {
	in := get(t, withoutSixgate)
	s := &policyServer{installation: in, client: in.client(t)}
	t.Cleanup(func() { s.remove(t) })
	policy := rules.DefaultPolicy("IPv6")
	policy.Cluster.NAT64.Prefix = "2001:db8:64::/96"
	s.use(t, export.Policies(rules.NewSet(policy), nil, nil).Objects)
	var containers, volumes, aliases, addresses, peers []any
	for i := range 50 {
		var env, args []any
		for j := range 20 {
			env = append(env, map[string]any{"name": fmt.Sprintf("PEER_%d", j), "value": fmt.Sprintf("http://$(POD_IP):%d/a/path/of/some/length", 8000+j)})
			args = append(args, fmt.Sprintf("--peer-%d=$(POD_IP):%d", j, 9000+j))
		}
		get := map[string]any{"httpGet": map[string]any{"port": int64(80), "host": fmt.Sprintf("192.0.2.%d", i)}}
		containers = append(containers, map[string]any{
			"name": fmt.Sprintf("c%d", i), "image": "192.0.2.1:5000/nginx:1.14", "args": args, "livenessProbe": get, "readinessProbe": get,
			"env": append([]any{map[string]any{"name": "POD_IP", "valueFrom": map[string]any{"fieldRef": map[string]any{"fieldPath": "status.podIP"}}}}, env...),
		})
		volumes = append(volumes, map[string]any{"name": fmt.Sprintf("v%d", i), "nfs": map[string]any{"server": fmt.Sprintf("192.0.2.%d", i), "path": "/"}})
		aliases = append(aliases, map[string]any{"ip": fmt.Sprintf("192.0.2.%d", i), "hostnames": []any{fmt.Sprintf("host-%d", i)}})
		addresses = append(addresses, fmt.Sprintf("192.0.2.%d", i))
		peers = append(peers, map[string]any{"ports": []any{map[string]any{"port": int64(8000 + i)}}, "from": []any{map[string]any{"ipBlock": map[string]any{"cidr": fmt.Sprintf("192.0.2.%d/32", i)}}}})
	}
	data, lists := map[string]any{}, map[string]any{}
	for i := range 10 {
		data[fmt.Sprintf("file-%d", i)] = strings.Repeat("some line of a file, as long as lines are\nserver: $HOST_IP:80\n", 300)
	}
	lists["nginx.ingress.kubernetes.io/whitelist-source-range"] = strings.Repeat("192.0.2.0/24,", 200) + "198.51.100.0/24"
	for path, o := range map[string]map[string]any{
		"/api/v1/namespaces/default/pods": {"spec": map[string]any{"containers": containers, "volumes": volumes, "hostAliases": aliases}},
		"/apis/apps/v1/namespaces/default/deployments": {"spec": map[string]any{
			"selector": map[string]any{"matchLabels": map[string]any{"a": "b"}},
			"template": map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "b"}}, "spec": map[string]any{"containers": containers, "volumes": volumes, "hostAliases": aliases}},
		}},
		"/api/v1/namespaces/default/services":                           {"spec": map[string]any{"type": "LoadBalancer", "ports": []any{map[string]any{"port": int64(80)}}, "externalIPs": addresses}},
		"/apis/networking.k8s.io/v1/namespaces/default/networkpolicies": {"spec": map[string]any{"podSelector": map[string]any{}, "ingress": peers}},
		"/api/v1/namespaces/default/configmaps":                         {"data": data},
		"/apis/networking.k8s.io/v1/namespaces/default/ingresses":       {"spec": map[string]any{"defaultBackend": map[string]any{"service": map[string]any{"name": "a", "port": map[string]any{"number": int64(80)}}}}},
	} {
		o["metadata"] = map[string]any{"name": "large"}
		if strings.HasSuffix(path, "ingresses") {
			o["metadata"] = map[string]any{"name": "large", "annotations": lists}
		}
		a := s.send(t, http.MethodPost, path+"?dryRun=All", o)
		if why := failed(a); why != "" {
			t.Errorf("%s: %.1000s", path, why)
		} else if len(a.warnings) == 0 && !strings.Contains(a.message, "sixgate-") {
			t.Errorf("%s: nothing is said: %d %.1000s", path, a.code, a.message)
		}
	}
}
