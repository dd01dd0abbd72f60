package rules

// An Index holds what the other objects of the same input say about an object. A nil Index knows nothing.
type Index struct {
	dialled   map[string]string // "namespace/name" of a Service -> what the API server dials it for
	templates map[labelled][]template
}

// labelled are the templates of a namespace that have a label; with no key all of them.
type labelled struct{ namespace, key, value string }

type template struct {
	labels map[string]any
	ports  map[string]int64 // by name
}

// NewIndex indexes the objects of one input; namespace is that of objects which name none.
func NewIndex(objects []*Object, namespace string) *Index {
	x := &Index{dialled: map[string]string{}, templates: map[labelled][]template{}}
	for _, o := range objects {
		ns := o.Namespace()
		if ns == "" {
			ns = namespace
		}
		if pod, ok := podPath(o); ok {
			t := podTemplate(o, pod)
			x.templates[labelled{namespace: ns}] = append(x.templates[labelled{namespace: ns}], t)
			for k, v := range t.labels {
				if value, ok := v.(string); ok && k != "" {
					l := labelled{ns, k, value}
					x.templates[l] = append(x.templates[l], t)
				}
			}
			continue
		}
		who := o.Kind() + " " + o.Name()
		switch o.Group() + "/" + o.Kind() {
		case "admissionregistration.k8s.io/MutatingWebhookConfiguration", "admissionregistration.k8s.io/ValidatingWebhookConfiguration":
			for i := range o.List("webhooks") {
				x.dial(o.Map("webhooks", i, "clientConfig", "service"), who)
			}
		case "apiregistration.k8s.io/APIService":
			x.dial(o.Map("spec", "service"), who)
		case "apiextensions.k8s.io/CustomResourceDefinition":
			x.dial(o.Map("spec", "conversion", "webhook", "clientConfig", "service"), who)
		}
	}
	return x
}

func (x *Index) dial(service map[string]any, who string) {
	namespace, _ := service["namespace"].(string)
	if name, _ := service["name"].(string); name != "" {
		x.dialled[namespace+"/"+name] = who
	}
}

func podTemplate(o *Object, pod Path) template {
	t := template{labels: o.Map(pod.With("metadata", "labels")...), ports: map[string]int64{}}
	for _, c := range containers(o, pod) {
		for i := range o.List(c.path.With("ports")...) {
			at := c.path.With("ports", i)
			number, _ := o.Get(at.With("containerPort")...)
			if n, ok := integer(number); ok {
				t.ports[o.Str(at.With("name")...)] = n
			}
		}
	}
	return t
}

// dials returns what the API server dials a Service for.
func (x *Index) dials(namespace, name string) (string, bool) {
	if x == nil {
		return "", false
	}
	who, ok := x.dialled[namespace+"/"+name]
	return who, ok
}

// targetPort resolves a named target port in the pod templates that a selector matches; 0 if none has it or they differ.
func (x *Index) targetPort(namespace string, selector map[string]any, name string) int64 {
	if x == nil {
		return 0
	}
	templates := x.templates[labelled{namespace: namespace}]
	for k, v := range selector {
		if value, ok := v.(string); ok && k != "" {
			if few := x.templates[labelled{namespace, k, value}]; len(few) < len(templates) {
				templates = few
			}
		}
	}
	var found int64
	for _, t := range templates {
		if !selects(selector, t.labels) {
			continue
		}
		number := t.ports[name]
		if number == 0 || found != 0 && number != found {
			return 0
		}
		found = number
	}
	return found
}

func selects(selector, labels map[string]any) bool {
	for k, v := range selector {
		if _, ok := v.(string); !ok || labels[k] != v { // maps cannot be compared
			return false
		}
	}
	return true
}
