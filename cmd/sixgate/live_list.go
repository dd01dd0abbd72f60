package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apijson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/discovery"

	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

// An objectID tells objects apart: the hash of the UID, or of another text.
type objectID [16]byte

func idOf(text string) objectID {
	sum := sha256.Sum256([]byte(text))
	return objectID(sum[:16])
}

// resourceName is "deployments.apps", as kubectl and errors of the API server write it.
func resourceName(t rules.Target) string {
	if t.Group == "" {
		return t.Resource
	}
	return t.Resource + "." + t.Group
}

// The apis of a cluster, as discovery tells them.
type apis struct {
	versions map[string][]string // by resource, as resourceName; the one that the API server prefers comes first
	failed   map[string]error    // by group/version
	custom   []rules.Target      // custom resources that may have pods
	unread   map[string]bool     // "group/Kind", or "group/" for all of it: objects that could not be listed
}

// discover asks for what the API server has.
func (c *connection) discover(ctx context.Context) (*apis, error) {
	client, err := discovery.NewDiscoveryClientForConfig(c.config)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	_, lists, err := client.ServerGroupsAndResourcesWithContext(ctx)
	failed, partial := discovery.GroupDiscoveryFailedErrorGroups(err)
	switch {
	case ctx.Err() != nil:
		return nil, errors.New("interrupted")
	case err != nil && !partial:
		return nil, refused("read the APIs of the cluster", "get", "/api and /apis", err)
	}
	a := &apis{versions: map[string][]string{}, failed: map[string]error{}, unread: map[string]bool{}, custom: custom(ctx, client.OpenAPIV3(), lists)}
	for _, l := range lists {
		group, version, ok := cutVersion(l.GroupVersion)
		for _, r := range l.APIResources {
			if ok && slices.Contains(r.Verbs, "list") {
				name := resourceName(rules.Target{Group: group, Resource: r.Name})
				a.versions[name] = append(a.versions[name], version)
			}
		}
	}
	for gv, err := range failed {
		a.failed[gv.String()], a.unread[gv.Group+"/"] = err, true
	}
	return a, nil
}

// served returns the targets that the API server has, in a version that it serves. Absent ones are left out, as where a CRD is not
// installed. What could not be asked for is an error of the report.
func (a *apis) served(targets []rules.Target) ([]rules.Target, []report.Error) {
	var out []rules.Target
	for _, t := range targets {
		have := a.versions[resourceName(t)]
		if len(have) == 0 || t.Group == "crd.projectcalico.org" && len(a.versions[t.Resource+".projectcalico.org"]) > 0 { // which serves the same objects
			continue
		}
		if !slices.Contains(have, t.Version) {
			t.Version = have[0]
		}
		out = append(out, t)
	}
	var errs []report.Error
	for gv, err := range a.failed {
		if group, _, _ := cutVersion(gv); slices.ContainsFunc(targets, func(t rules.Target) bool { return t.Group == group }) {
			errs = append(errs, report.Error{File: gv, Message: oneLine(err) + "; its objects are not audited"})
		}
	}
	return out, errs
}

func cutVersion(groupVersion string) (group, version string, ok bool) {
	for i := len(groupVersion) - 1; i >= 0; i-- {
		if groupVersion[i] == '/' {
			return groupVersion[:i], groupVersion[i+1:], true
		}
	}
	return "", groupVersion, groupVersion != ""
}

// A scope is which objects of a kind are listed.
type scope struct {
	namespace string // "" for all
	selector  string // of labels; "" for all
	metadata  bool   // nothing but the metadata of each
}

// pathOf is that of a kind in a namespace, "" for all of them or for none.
func pathOf(t rules.Target, namespace string) []string {
	path := []string{"/apis", t.Group, t.Version}
	if t.Group == "" {
		path = []string{"/api", t.Version}
	}
	if namespace != "" {
		path = append(path, "namespaces", namespace)
	}
	return append(path, t.Resource)
}

// page asks for one page of a kind.
func (c *connection) page(ctx context.Context, t rules.Target, in scope, limit int, token string) (io.ReadCloser, error) {
	accept := "application/json"
	if in.metadata {
		accept += ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	}
	r := c.client.Get().AbsPath(pathOf(t, in.namespace)...).SetHeader("Accept", accept).Param("limit", strconv.Itoa(limit))
	if in.selector != "" {
		r.Param("labelSelector", in.selector)
	}
	if token != "" {
		r.Param("continue", token)
	}
	return r.Stream(ctx)
}

// errCut is an answer that ended early, as where it took longer than the API server's limit.
var errCut = errors.New("the answer ended early")

// readList reads a list as it comes, so that memory holds one object of it and not the page. visit must not keep raw.
func readList(r io.Reader, visit func(raw []byte)) (meta metav1.ListMeta, err error) {
	dec := json.NewDecoder(r)
	want := func(d json.Delim) error {
		t, err := dec.Token()
		if err == nil && t != d {
			err = fmt.Errorf("a list has %v where %v belongs", t, d)
		}
		return err
	}
	walk := func() error {
		if err := want('{'); err != nil {
			return err
		}
		var raw json.RawMessage
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return err
			}
			switch key {
			case "metadata":
				err = dec.Decode(&meta)
			case "items":
				t, e := dec.Token()
				if err = e; err != nil || t == nil { // null is an empty list
					break
				}
				for dec.More() && err == nil {
					if err = dec.Decode(&raw); err == nil {
						visit(raw)
					}
				}
				if err == nil {
					err = want(']')
				}
			default:
				err = dec.Decode(&raw)
			}
			if err != nil {
				return err
			}
		}
		return want('}')
	}
	if err = walk(); err != nil {
		err = fmt.Errorf("%w: %w", errCut, err)
	}
	return meta, err
}

const (
	// maxIdle is how often in a row a page may fail without a new object.
	maxIdle = 3
	// pause is the first wait after a failure; it doubles.
	pause = time.Second
)

// list calls visit with each object of a kind, once, and holds one of them at a time. An expired continue token, an answer that ends
// early and an API server that is away for some seconds do not lose or repeat any: an object that exists all the time is visited.
func (c *connection) list(ctx context.Context, t rules.Target, in scope, limit int, visit func(root map[string]any)) error {
	seen := map[objectID]struct{}{}
	token, idle, most := "", 0, limit
	for {
		before := len(seen)
		body, err := c.page(ctx, t, in, limit, token)
		var meta metav1.ListMeta
		if err == nil {
			meta, err = readList(body, func(raw []byte) {
				var root map[string]any
				if apijson.Unmarshal(raw, &root) != nil || root == nil {
					return
				}
				o := rules.NewObject(root)
				id := idOf(cmp.Or(o.Str("metadata", "uid"), o.Namespace()+"/"+o.Name()))
				if _, again := seen[id]; again {
					return
				}
				seen[id] = struct{}{}
				visit(root)
			})
			body.Close()
		}
		var wait time.Duration
		switch {
		case err == nil && meta.Continue == "":
			return nil
		case err == nil:
			token, idle, limit = meta.Continue, 0, min(2*limit, most)
			continue
		case ctx.Err() != nil:
			return errors.New("interrupted")
		case apierrors.IsResourceExpired(err) || apierrors.IsGone(err):
			token = "" // from the start, unless the answer has a token for the rest; what was seen is not visited again
			var status apierrors.APIStatus
			if errors.As(err, &status) {
				token = status.Status().Continue
			}
		case errors.Is(err, errCut):
			limit = max(limit/2, 1)
		case mayPass(err):
			wait = pause << idle
		default:
			return refused("list "+resourceName(t), "list", resourceName(t), err)
		}
		if len(seen) > before {
			idle = 0
		} else if idle++; idle >= maxIdle {
			return refused("list "+resourceName(t), "list", resourceName(t), err)
		}
		select {
		case <-ctx.Done():
			return errors.New("interrupted")
		case <-time.After(wait):
		}
	}
}

// mayPass: the API server, or one behind it, is away or busy.
func mayPass(err error) bool {
	return apierrors.ReasonForError(err) == metav1.StatusReasonUnknown || apierrors.IsServiceUnavailable(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsInternalError(err)
}

// count is about how many objects of a kind there are; 0 if that is not known.
func (c *connection) count(ctx context.Context, t rules.Target, namespace string) int64 {
	body, err := c.page(ctx, t, scope{namespace: namespace}, 1, "")
	if err != nil {
		return 0 // the list itself will say why
	}
	defer body.Close()
	n := int64(0)
	meta, err := readList(body, func([]byte) { n++ })
	if err == nil && meta.RemainingItemCount != nil {
		n += *meta.RemainingItemCount
	}
	return n
}
