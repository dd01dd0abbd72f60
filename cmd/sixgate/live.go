package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

// A liveAudit judges the objects of a cluster instead of files.
type liveAudit struct {
	cluster, all        bool
	kubeconfig, context string
	pageSize            int
	reports             choice
	writes              int // per second

	publish *publisher // nil where no reports are written
}

func (l *liveAudit) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&l.cluster, "cluster", false, "audit the objects of a cluster instead of files: docs/audit-cluster.md")
	flags.StringVar(&l.kubeconfig, "kubeconfig", "", "with --cluster, kubeconfig `FILE`; none: as kubectl, else as a pod of the cluster")
	flags.StringVar(&l.context, "context", "", "with --cluster, `CONTEXT` of the kubeconfig")
	flags.BoolVarP(&l.all, "all-namespaces", "A", false, "with --cluster, all namespaces and what has none (the default without -n)")
	flags.IntVar(&l.pageSize, "page-size", pageSize, "with --cluster, objects that are asked for at a time")
	l.reports = choice{"none", []string{"none", "auto", "openreports", "policyreport"}}
	flags.Var(&l.reports, "write-reports", "with --cluster, write a report into the cluster for each object with findings, and delete those that are no longer true; auto: of openreports.io, else of wgpolicyk8s.io")
	flags.Lookup("write-reports").NoOptDefVal = "auto"
	flags.IntVar(&l.writes, "write-rate", 50, "with --write-reports, requests that write in a second, at most")
}

// check refuses flags and arguments that do not belong together.
func (l *liveAudit) check(cmd *cobra.Command, args []string) error {
	if !l.cluster {
		for _, name := range []string{"kubeconfig", "context", "all-namespaces", "page-size", "write-reports", "write-rate"} {
			if cmd.Flags().Changed(name) {
				return errors.New("--" + name + " goes with --cluster")
			}
		}
		return atLeastOne(`a file, a folder, "-" for standard input, or --cluster`)(cmd, args)
	}
	switch {
	case len(args) > 0:
		return errors.New("--cluster audits the objects of a cluster; leave out " + args[0])
	case l.all && cmd.Flags().Changed("namespace"):
		return errors.New("name one namespace with -n, or all with -A, not both")
	case cmd.Flags().Changed("verbose"):
		return errors.New("--verbose names lines of files; leave it out with --cluster")
	case l.pageSize < 1:
		return errors.New("--page-size must be above 0")
	case l.writes < 1:
		return errors.New("--write-rate must be above 0")
	case l.reports.value == "none" && cmd.Flags().Changed("write-rate"):
		return errors.New("--write-rate goes with --write-reports")
	case l.reports.value != "none" && cmd.Flags().Changed("baseline"):
		return errors.New("--baseline hides findings, --write-reports writes all; use one of the two")
	}
	return nil
}

// audit reads the cluster and judges each object as it comes. The report is not finished yet. namespace is "" for all, and for
// what has none.
func (l *liveAudit) audit(ctx context.Context, r *report.Report, set *rules.Set, namespace string, notes io.Writer) error {
	ctx = klog.NewContext(ctx, klog.Logger{}) // what matters is returned as an error
	c, _, err := connect(l.kubeconfig, l.context, namespace, "or audit files")
	if err != nil {
		return err
	}
	c.config.QPS = -1 // the API server has priority and fairness
	if c.client, err = rest.RESTClientFor(c.config); err != nil {
		return err
	}
	apis, err := c.discover(ctx)
	if err != nil {
		return err
	}
	targets := set.Listed(apis.custom...)
	if namespace != "" {
		targets = slices.DeleteFunc(targets, func(t rules.Target) bool { return t.Cluster })
	}
	if l.reports.value != "none" {
		if l.publish, err = newPublisher(c, apis, l, namespace); err != nil {
			return err
		}
	}
	targets, errs := apis.served(targets)
	p := newProgress(notes, func() (n int64) {
		for _, t := range targets {
			n += c.count(ctx, t, namespace)
		}
		return n
	})
	defer p.finish()
	s := newStored(set, r)
	s.report.Errors = append(s.report.Errors, errs...)
	var unlisted []string
	for _, t := range targets {
		var err error
		if t.ComparedWithin() {
			err = c.list(ctx, t, scope{namespace: namespace}, l.pageSize, func(root map[string]any) { s.index.Add(objectOf(t, root)) })
		}
		if err == nil {
			err = c.list(ctx, t, scope{namespace: namespace}, l.pageSize, func(root map[string]any) {
				s.add(t, root)
				p.add(t.Resource)
			})
		}
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if apierrors.IsForbidden(err) && !set.Knows(t.Group, t.Kind, "") && rules.MayEmbed(t.Group) {
			unlisted = append(unlisted, resourceName(t))
			apis.unread[t.Group+"/"+t.Kind] = true
			continue
		}
		if err != nil {
			message := strings.TrimPrefix(oneLine(err), "list "+resourceName(t)+": ")
			apis.unread[t.Group+"/"+t.Kind] = true
			s.report.Errors = append(s.report.Errors, report.Error{File: resourceName(t), Message: message})
		}
	}
	s.finish()
	if len(unlisted) > 0 { // nobody asked for them by name
		p.finish()
		fmt.Fprintf(notes, "not audited, since they may not be listed: %s, which may have pods in them\n", strings.Join(unlisted, ", "))
	}
	return nil
}

// stored judges the objects of a cluster, which must come in the order of rules.Set.Listed.
type stored struct {
	set    *rules.Set
	index  *rules.Index
	report *report.Report

	controllers map[objectID]objectID        // by UID -> the topmost controller of it, which is itself where it has none
	selecting   map[objectID]bool            // Services whose Endpoints a controller makes
	told        map[objectID]map[string]bool // of a topmost controller: what was found in it or in its Pods
	pods        map[objectID]map[string]bool // of a topmost controller with Pods: what was found in these
	templates   []templateFinding
}

// A templateFinding is one that the webhook repairs in the Pods that are made.
type templateFinding struct {
	at         int // in the findings of the report
	object     int // in the objects of the report
	controller objectID
	what       string
}

func newStored(set *rules.Set, r *report.Report) *stored {
	return &stored{
		set: set, index: rules.NewIndex(nil, "default"), report: r,
		controllers: map[objectID]objectID{}, selecting: map[objectID]bool{},
		told: map[objectID]map[string]bool{}, pods: map[objectID]map[string]bool{},
	}
}

// objectOf is an item of a list, which has no kind of its own.
func objectOf(t rules.Target, root map[string]any) *rules.Object {
	root["kind"], root["apiVersion"] = t.Kind, strings.TrimPrefix(t.Group+"/"+t.Version, "/")
	return rules.NewObject(root)
}

// add judges one object.
func (s *stored) add(t rules.Target, root map[string]any) {
	o := objectOf(t, root)
	if o.Str("metadata", "deletionTimestamp") != "" || t.Group == "" && t.Kind == "Pod" && slices.Contains([]string{"Succeeded", "Failed"}, o.Str("status", "phase")) {
		return
	}
	id := idOf(o.Str("metadata", "uid"))
	controller, controlled := s.controllers[idOf(controllerUID(o))]
	if !controlled {
		controller = id
	}
	embeds := rules.MayEmbed(t.Group) && !s.set.Knows(t.Group, t.Kind, "")
	makes := makesOthers(t)
	if embeds {
		_, makes = rules.WorkloadOf(o)
	}
	if makes {
		s.controllers[id] = controller
	}
	if embeds && rules.HasController(o) {
		return // what made it is audited
	}
	pod := t.Group == "" && t.Kind == "Pod"
	if controlled && !pod || s.generated(t, o) {
		return // it has what its controller has
	}
	asSent(o)
	if !controlled && !t.ComparedWithin() {
		s.index.Add(o)
	}
	if !s.set.Judges(o) {
		return
	}
	r := s.report
	findings, objects, skipped := len(r.Findings), len(r.Objects), len(r.Skipped)
	auditObject(r, s.set, report.Stored(o), "", s.index)
	r.Summary.Objects++
	if controlled {
		s.controlled(controller, findings, objects, skipped)
		return
	}
	if !makes {
		return
	}
	for i := findings; i < len(r.Findings); i++ {
		f := r.Findings[i]
		what := f.Rule + " " + f.Message
		note(s.told, controller, what)
		if f.Repaired {
			s.templates = append(s.templates, templateFinding{i, objects, controller, what})
		}
	}
	for _, k := range r.Skipped[skipped:] {
		note(s.told, controller, k.Rule)
	}
}

// controlled keeps of a Pod, whose part of the report is its end, what neither its controller nor another Pod of that has.
func (s *stored) controlled(controller objectID, findings, objects, skipped int) {
	r := s.report
	if s.pods[controller] == nil {
		s.pods[controller] = map[string]bool{}
	}
	keep := r.Findings[:findings]
	known := map[string]bool{} // rules that have a finding: their changes are no news
	for _, f := range r.Findings[findings:] {
		what := f.Rule + " " + f.Message
		known["["+f.Rule+"]"] = true
		s.pods[controller][what] = true
		if note(s.told, controller, what) {
			keep = append(keep, f)
		}
	}
	r.Findings = keep
	r.Skipped = append(r.Skipped[:skipped], slices.DeleteFunc(slices.Clone(r.Skipped[skipped:]), func(k report.Skipped) bool {
		return !note(s.told, controller, k.Rule)
	})...)
	news := len(r.Findings) > findings
	for _, o := range r.Objects[objects:] {
		for _, change := range o.Changes {
			rule := change[max(strings.LastIndexByte(change, '['), 0):]
			news = !known[rule] && note(s.told, controller, change) || news
		}
	}
	if !news && len(r.Objects) > objects {
		r.Objects = r.Objects[:objects]
		r.Summary.Objects--
	}
}

// finish leaves out what admission has repaired: a fault of a template that is in none of the Pods that were made of it.
func (s *stored) finish() {
	r := s.report
	gone := map[int]bool{}
	for _, t := range s.templates {
		if pods, ok := s.pods[t.controller]; ok && !pods[t.what] {
			gone[t.at] = true
		}
	}
	if len(gone) == 0 {
		return
	}
	left := map[string]bool{}
	keep := r.Findings[:0]
	for i, f := range r.Findings {
		if !gone[i] {
			left[f.File] = true
			keep = append(keep, f)
		}
	}
	r.Findings = keep
	for _, t := range s.templates {
		if o := &r.Objects[t.object]; gone[t.at] && !left[o.File] {
			o.Outcome = report.Clean
		}
	}
}

// note reports whether something is new for a controller.
func note(of map[objectID]map[string]bool, controller objectID, what string) bool {
	if of[controller][what] {
		return false
	}
	if of[controller] == nil {
		of[controller] = map[string]bool{}
	}
	of[controller][what] = true
	return true
}

func controllerUID(o *rules.Object) string {
	if at := rules.Controller(o); at != nil {
		return o.Str(at.With("uid")...)
	}
	return ""
}

// makesOthers are the kinds that are audited and control others.
func makesOthers(t rules.Target) bool {
	switch t.Group + "/" + t.Kind {
	case "apps/Deployment", "apps/ReplicaSet", "apps/StatefulSet", "apps/DaemonSet", "batch/Job", "batch/CronJob", "/ReplicationController",
		"/Service", "/Endpoints":
		return true
	}
	return false
}

// generated are Endpoints and EndpointSlices that a controller makes of the Pods of a Service: the addresses are those of the
// Pods, of whatever families the cluster has. Endpoints have no owner, so it needs the Services first.
func (s *stored) generated(t rules.Target, o *rules.Object) bool {
	name := o.Name()
	switch t.Group + "/" + t.Kind {
	case "/Service":
		if len(o.Map("spec", "selector")) > 0 {
			s.selecting[idOf(o.Namespace()+"/"+name)] = true
		}
		return false
	case "discovery.k8s.io/EndpointSlice":
		name = o.Str("metadata", "labels", "kubernetes.io/service-name")
	case "/Endpoints":
	default:
		return false
	}
	return s.selecting[idOf(o.Namespace()+"/"+name)] || o.Namespace() == "default" && name == "kubernetes"
}

// asSent takes away what the API server keeps of an object and nobody wrote: the status, and families and addresses of a Service that
// it has allocated, by which no IPv4 cluster would have a single good Service. What was sent is in managedFields: allocation comes
// after they are written (measured on kube-apiserver v1.37); without them everything counts as written.
func asSent(o *rules.Object) {
	root := o.Root()
	delete(root, "status")
	if o.Group() == "" && o.Kind() == "Service" {
		if sent := managedFields(o); sent != nil {
			spec := o.Map("spec")
			for _, field := range []string{"ipFamilies", "ipFamilyPolicy", "clusterIPs", "clusterIP"} {
				headless := strings.HasPrefix(field, "clusterIP") && o.Str("spec", "clusterIP") == "None"
				if !headless && sent.at("f:spec", "f:"+field) == nil {
					delete(spec, field)
				}
			}
		}
	}
	delete(o.Map("metadata"), "managedFields")
	if last := o.Map("metadata", "annotations"); last != nil {
		delete(last, lastApplied) // the same again, as a text
	}
}

// lastApplied is what kubectl apply sent, where it applies at the client.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// A fieldSet is FieldsV1 of managedFields: "f:NAME" and "k:{KEYS}", each with what is below.
type fieldSet map[string]any

// managedFields are the fields that somebody sent, but for those of subresources; nil where that is not recorded.
func managedFields(o *rules.Object) fieldSet {
	var out fieldSet
	for i := range o.List("metadata", "managedFields") {
		at := rules.Path{"metadata", "managedFields", i}
		if o.Str(at.With("subresource")...) != "" {
			continue
		}
		if fields := o.Map(at.With("fieldsV1")...); fields != nil {
			if out == nil {
				out = fieldSet{}
			}
			out.merge(fields)
		}
	}
	if out.at("f:spec") == nil {
		return nil
	}
	return out
}

func (s fieldSet) merge(other map[string]any) {
	for key, below := range other {
		into, _ := s[key].(map[string]any)
		from, _ := below.(map[string]any)
		if into == nil {
			into = map[string]any{}
			s[key] = into
		}
		fieldSet(into).merge(from)
	}
}

// at is what is below a path, nil if it is not in the set.
func (s fieldSet) at(path ...string) fieldSet {
	now := s
	for _, key := range path {
		below, ok := now[key].(map[string]any)
		if !ok {
			return nil
		}
		now = below
	}
	return now
}

// element is what is below the element of a list, by its keys.
func (s fieldSet) element(value any) (key string, below fieldSet) {
	item, _ := value.(map[string]any)
	for k := range s {
		text, ok := strings.CutPrefix(k, "k:")
		var keys map[string]any
		if !ok || json.Unmarshal([]byte(text), &keys) != nil {
			continue
		}
		same := true
		for name, want := range keys {
			same = same && equalKey(item[name], want)
		}
		if same {
			return k, s.at(k)
		}
	}
	return "", nil
}

// equalKey compares the key of a list element with what FieldsV1 says, where every number is a float64.
func equalKey(value, want any) bool {
	if n, ok := value.(int64); ok {
		return want == float64(n)
	}
	return value == want
}
