package rules

import (
	"cmp"
	"fmt"
	"reflect"

	"gomodules.xyz/jsonpatch/v2"
	"k8s.io/apimachinery/pkg/runtime"
)

// An Object is a Kubernetes object as generic JSON. Set, Insert and Remove change it and journal each change as one
// RFC 6902 operation, so that a field newer than this build survives and the patch is small and deterministic.
// It must not be decoded into a typed object, changed and compared: that deletes what this build does not know.
type Object struct {
	root map[string]any
	ops  []jsonpatch.Operation

	listening  *listening     // what rules about listeners share
	containers *podContainers // what rules about pods share
	embedding  *embedding     // the pods of a custom resource
	quoted     bool           // it was read, and had no field like those that yaml-unquoted-ipv6 looks for
}

// ParseObject decodes one JSON object. Integers keep their value up to 64 bits. It fails if raw is not a JSON object.
func ParseObject(raw []byte) (*Object, error) {
	d := NewDecoder(raw)
	defer d.Free()
	v, err := d.Value()
	if err == nil {
		err = cmp.Or(d.End(), d.tooLarge)
	}
	if err != nil {
		return nil, fmt.Errorf("decode object: %w", err)
	}
	root, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("decode object: %T", v)
	}
	return &Object{root: root, quoted: !d.unquoted}, nil
}

// NewObject wraps a tree as util/json decodes it: map[string]any, []any, string, int64, float64, bool and nil.
func NewObject(root map[string]any) *Object { return &Object{root: root} }

// Copy returns a deep copy with an empty journal.
func (o *Object) Copy() *Object {
	c := &Object{root: runtime.DeepCopyJSON(o.root)}
	if o.listening != nil && o.listening.ops == len(o.ops) {
		c.listening = &listening{found: o.listening.found}
	}
	return c
}

// Root returns the tree for reading. Changes go through Set, Insert and Remove, or they are lost.
func (o *Object) Root() map[string]any { return o.root }

// Patch returns the journal: applied in order to the bytes that were parsed, it gives the tree as it is now.
func (o *Object) Patch() []jsonpatch.Operation { return o.ops }

// Get returns the value at a path, and whether there is one. A null counts as absent, as it does for the API server.
func (o *Object) Get(path ...any) (any, bool) { return lookup(o.root, path) }

func lookup(at any, path []any) (any, bool) {
	for _, e := range path {
		switch key := e.(type) {
		case string:
			m, _ := at.(map[string]any)
			at = m[key]
		case int:
			l, _ := at.([]any)
			if key < 0 || key >= len(l) {
				return nil, false
			}
			at = l[key]
		default:
			return nil, false
		}
	}
	return at, at != nil
}

// Str returns the string at a path, or "" where there is none.
func (o *Object) Str(path ...any) string { return as[string](o, path) }

// Map returns the JSON object at a path, or nil.
func (o *Object) Map(path ...any) map[string]any { return as[map[string]any](o, path) }

// List returns the JSON array at a path, or nil.
func (o *Object) List(path ...any) []any { return as[[]any](o, path) }

// Bool returns the boolean at a path, or false.
func (o *Object) Bool(path ...any) bool { return as[bool](o, path) }

// Strings returns the strings of the array at a path; other elements are left out.
func (o *Object) Strings(path ...any) []string {
	var out []string
	for _, e := range o.List(path...) {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func as[T any](o *Object, path []any) T {
	v, _ := o.Get(path...)
	t, _ := v.(T)
	return t
}

// Set writes a value at a path and creates the missing objects on the way, all in one operation. It does nothing where the
// path leads through a value of another type or past the end of a list, or already has the value.
func (o *Object) Set(path Path, value any) {
	if now, ok := o.Get(path...); ok && reflect.DeepEqual(now, value) {
		return
	}
	value = runtime.DeepCopyJSONValue(value)
	for i := range path { // the first part of the path that is absent gets everything below it as one value
		if _, ok := o.Get(path[:i+1]...); ok && i < len(path)-1 {
			continue
		}
		for j := len(path) - 1; j > i; j-- {
			key, ok := path[j].(string)
			if !ok {
				return
			}
			value = map[string]any{key: value}
		}
		o.put(path[:i+1], value)
		return
	}
}

func (o *Object) put(path Path, value any) {
	last := path[len(path)-1]
	parent, ok := o.Get(path[:len(path)-1]...)
	if !ok {
		return
	}
	op := "add"
	switch parent := parent.(type) {
	case map[string]any:
		key, ok := last.(string)
		if !ok {
			return
		}
		if _, present := parent[key]; present {
			op = "replace"
		}
		parent[key] = value
	case []any:
		i, ok := last.(int)
		if !ok || i < 0 || i >= len(parent) {
			return
		}
		op = "replace"
		parent[i] = value
	default:
		return
	}
	o.journal(op, path, value)
}

// Insert puts a value into the list at a path, before the element that has index i now; i may be the list's length.
func (o *Object) Insert(path Path, i int, value any) {
	list, ok := o.Get(path...)
	l, isList := list.([]any)
	if !ok || !isList || i < 0 || i > len(l) {
		return
	}
	value = runtime.DeepCopyJSONValue(value)
	grown := make([]any, 0, len(l)+1)
	grown = append(append(append(grown, l[:i]...), value), l[i:]...)
	o.store(path, grown)
	o.journal("add", path.With(i), value)
}

// Remove deletes the field or list element at a path, if there is one. A present null is deleted too.
func (o *Object) Remove(path Path) {
	if len(path) == 0 {
		return
	}
	above, last := path[:len(path)-1], path[len(path)-1]
	parent, ok := o.Get(above...)
	if !ok {
		return
	}
	switch parent := parent.(type) {
	case map[string]any:
		key, ok := last.(string)
		if _, present := parent[key]; !ok || !present {
			return
		}
		delete(parent, key)
	case []any:
		i, ok := last.(int)
		if !ok || i < 0 || i >= len(parent) {
			return
		}
		shrunk := make([]any, 0, len(parent)-1)
		o.store(above, append(append(shrunk, parent[:i]...), parent[i+1:]...))
	default:
		return
	}
	o.journal("remove", path, nil)
}

// store replaces the list at a path without a journal entry.
func (o *Object) store(path Path, list []any) {
	parent, _ := o.Get(path[:len(path)-1]...)
	switch parent := parent.(type) {
	case map[string]any:
		parent[path[len(path)-1].(string)] = list
	case []any:
		parent[path[len(path)-1].(int)] = list
	}
}

func (o *Object) journal(op string, path Path, value any) {
	// A copy: what is changed below this value later is an operation of its own.
	o.ops = append(o.ops, jsonpatch.NewOperation(op, path.Pointer(), runtime.DeepCopyJSONValue(value)))
}

// APIVersion, Kind, Namespace and Name as written; "" where absent.
func (o *Object) APIVersion() string { return o.Str("apiVersion") }
func (o *Object) Kind() string       { return o.Str("kind") }
func (o *Object) Namespace() string  { return o.Str("metadata", "namespace") }

// Name is metadata.name, else metadata.generateName.
func (o *Object) Name() string {
	if n := o.Str("metadata", "name"); n != "" {
		return n
	}
	return o.Str("metadata", "generateName")
}

// Group is the API group of apiVersion: "" for the core group.
func (o *Object) Group() string {
	group, _, ok := cutLast(o.APIVersion(), "/")
	if !ok {
		return ""
	}
	return group
}
