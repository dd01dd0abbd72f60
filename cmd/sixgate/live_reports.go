package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

const (
	// reportManager owns the fields of the reports in the cluster. What it does not own is never deleted.
	reportManager  = "sixgate-audit"
	reportSelector = report.ObjectReportLabel + "=object"
	// maxRefused is how many reports in a row may be refused before the rest is left for the next run.
	maxRefused = 20
)

// A publisher keeps one report for each object with findings in a cluster. What is there already is compared by digest, so that a run
// on what has not changed writes nothing, and a run after one that was killed writes the rest.
type publisher struct {
	c         *connection
	client    rest.Interface // for what writes
	apis      *apis
	api       report.PolicyAPI
	others    []report.PolicyAPI // that are served too, where an earlier run may have written
	namespace string             // "" for all, and for what has none
	pageSize  int
	done      struct{ written, deleted, unchanged int }
	refused   struct {
		n, inARow int
		first     error
	}
}

// newPublisher finds the API for reports; that there is none is an error before anything is audited.
func newPublisher(c *connection, a *apis, l *liveAudit, namespace string) (*publisher, error) {
	p := &publisher{c: c, apis: a, namespace: namespace, pageSize: l.pageSize}
	var wanted []string
	for _, api := range report.PolicyAPIs() {
		asked := l.reports.value == "auto" || l.reports.value == api.Format
		if asked {
			wanted = append(wanted, api.Resource+"."+api.Group)
		}
		target := p.target(api, false)
		switch served := slices.Contains(a.versions[resourceName(target)], api.Version); {
		case served && asked && p.api.Format == "":
			p.api = api
		case served:
			p.others = append(p.others, api)
		}
	}
	if p.api.Format == "" {
		return nil, fmt.Errorf("write reports: the cluster has no %s; install that CustomResourceDefinition, or leave out --write-reports and use -o", strings.Join(wanted, " and no "))
	}
	config := rest.CopyConfig(c.config)
	config.QPS, config.Burst = float32(l.writes), l.writes
	var err error
	if p.client, err = rest.RESTClientFor(config); err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	return p, nil
}

func (p *publisher) target(api report.PolicyAPI, cluster bool) rules.Target {
	t := rules.Target{Group: api.Group, Version: api.Version, Kind: api.Kind, Resource: api.Resource}
	if cluster {
		t.Kind, t.Resource, t.Cluster = "Cluster"+t.Kind, "cluster"+t.Resource, true
	}
	return t
}

// A storedReport is one of ours in the cluster.
type storedReport struct {
	target          rules.Target
	namespace, name string
	uid             types.UID
	version         string
}

// write makes the reports of the cluster those of a finished audit. It deletes no report on an object that could not be listed.
func (p *publisher) write(ctx context.Context, r *report.Report) error {
	wanted, all := map[[2]string]*report.ObjectReport{}, r.ObjectReports()
	for _, o := range all {
		if o.Namespace == "" && p.namespace != "" {
			continue
		}
		wanted[[2]string{o.Namespace, o.Name}] = o
	}
	var stale []storedReport
	for _, api := range append([]report.PolicyAPI{p.api}, p.others...) {
		for _, cluster := range []bool{false, true} {
			if cluster && p.namespace != "" {
				continue
			}
			t := p.target(api, cluster)
			if len(p.apis.versions[resourceName(t)]) == 0 {
				continue
			}
			var failed error
			list := p.c.list(ctx, t, scope{p.namespace, reportSelector, true}, p.pageSize, func(root map[string]any) {
				o := rules.NewObject(root)
				key := [2]string{o.Namespace(), o.Name()}
				if want := wanted[key]; want != nil && api == p.api {
					_, digest, err := want.JSON(api)
					failed = cmp.Or(failed, err)
					if unchanged(o, digest) {
						p.done.unchanged++
						delete(wanted, key)
					}
				} else if p.ours(o) && !p.unread(o) {
					stale = append(stale, storedReport{t, o.Namespace(), o.Name(), types.UID(o.Str("metadata", "uid")), o.Str("metadata", "resourceVersion")})
				}
			})
			if err := cmp.Or(list, failed); err != nil {
				return fmt.Errorf("write reports: %w", err)
			}
		}
	}
	for _, o := range all { // in their order
		if wanted[[2]string{o.Namespace, o.Name}] == nil {
			continue
		}
		if err := p.apply(ctx, o); err != nil {
			return err
		}
	}
	for _, s := range stale {
		if err := p.delete(ctx, s); err != nil {
			return err
		}
	}
	if n := p.refused.n; n > 0 {
		return fmt.Errorf("write reports: %d could not be written, the first: %w", n, p.refused.first)
	}
	return nil
}

// managersOf are those that wrote the object, by name.
func managersOf(o *rules.Object) (names []string) {
	for i := range o.List("metadata", "managedFields") {
		names = append(names, o.Str("metadata", "managedFields", i, "manager"))
	}
	return names
}

func (p *publisher) ours(o *rules.Object) bool { return slices.Contains(managersOf(o), reportManager) }

// unchanged: it has what we would write, and nobody else has touched it.
func unchanged(o *rules.Object, digest string) bool {
	return o.Str("metadata", "annotations", report.ObjectReportDigest) == digest &&
		!slices.ContainsFunc(managersOf(o), func(m string) bool { return m != reportManager })
}

// unread: the object of the report is of a kind that could not be listed.
func (p *publisher) unread(o *rules.Object) bool {
	group, _, _ := cutVersion(o.Str("metadata", "ownerReferences", 0, "apiVersion"))
	return p.apis.unread[group+"/"] || p.apis.unread[group+"/"+o.Str("metadata", "ownerReferences", 0, "kind")]
}

func (p *publisher) apply(ctx context.Context, o *report.ObjectReport) error {
	data, _, err := o.JSON(p.api)
	if err != nil {
		return fmt.Errorf("write reports: %w", err)
	}
	t := p.target(p.api, o.Namespace == "")
	return p.attempt(ctx, "patch", t, &p.done.written, func() error {
		return p.client.Patch(types.ApplyPatchType).AbsPath(append(pathOf(t, o.Namespace), o.Name)...).
			Param("fieldManager", reportManager).Param("force", "true").Body(data).Do(ctx).Error()
	})
}

// delete removes a report as it was read: one that another run has written meanwhile stays.
func (p *publisher) delete(ctx context.Context, s storedReport) error {
	data, err := json.Marshal(metav1.DeleteOptions{
		TypeMeta:      metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"},
		Preconditions: &metav1.Preconditions{UID: &s.uid, ResourceVersion: &s.version},
	})
	if err != nil {
		return fmt.Errorf("write reports: %w", err)
	}
	return p.attempt(ctx, "delete", s.target, &p.done.deleted, func() error {
		return p.client.Delete().AbsPath(append(pathOf(s.target, s.namespace), s.name)...).SetHeader("Content-Type", "application/json").
			Body(data).Do(ctx).Error()
	})
}

// attempt makes one request, again where the API server is away or busy. That the object has gone meanwhile is no error. A refused
// report does not stop the others, unless all are.
func (p *publisher) attempt(ctx context.Context, verb string, t rules.Target, count *int, request func() error) error {
	var err error
	for idle := range maxIdle {
		err = request() // client-go waits where the answer has Retry-After
		if ctx.Err() != nil {
			return errors.New("write reports: interrupted; the next run writes the rest")
		}
		if err == nil || !mayPass(err) || idle == maxIdle-1 {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause << idle):
		}
	}
	switch {
	case err == nil:
		*count++
		p.refused.inARow = 0
		return nil
	case apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse), apierrors.IsConflict(err) && verb == "delete", apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	}
	p.refused.n++
	p.refused.inARow++
	if p.refused.first == nil {
		p.refused.first = refused(verb+" "+resourceName(t), verb, resourceName(t), err)
	}
	if mayPass(err) || p.refused.inARow >= maxRefused {
		return fmt.Errorf("write reports: %w; the next run writes the rest", p.refused.first)
	}
	return nil
}

// String counts what was done.
func (p *publisher) String() string {
	return fmt.Sprintf("reports of %s: %d written, %d deleted, %d unchanged", p.api.Group, p.done.written, p.done.deleted, p.done.unchanged)
}
