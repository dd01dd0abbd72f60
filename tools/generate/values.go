package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sixgate/sixgate/pkg/rules"
)

// Values are those of the Helm chart. Its values.yaml, values.schema.json and the table of its README follow from this type and
// from defaultValues: doc is the description, enum what a text may be, min and max what a number may be.
type values struct {
	Image struct {
		Repository string `yaml:"repository" doc:"where the nodes pull it; the registry needs an IPv6 address, see docs/install.md for a mirror"`
		Tag        string `yaml:"tag" doc:"default: the chart's appVersion"`
		Digest     string `yaml:"digest" doc:"sha256:…; wins over the tag" pattern:"^(sha256:[0-9a-f]{64})?$"`
		PullPolicy string `yaml:"pullPolicy" doc:"Always, IfNotPresent or Never" enum:"Always,IfNotPresent,Never"`
	} `yaml:"image" doc:"the image of the webhook"`
	ImagePullSecrets []map[string]any `yaml:"imagePullSecrets" doc:"[{name: …}]"`
	Policy           policyValue      `yaml:"policy" doc:"the policy (docs/policy.md) as values, or as one text: --set-file policy=policy.yaml"`
	Webhooks         struct {
		Mutate   webhookValues `yaml:"mutate" doc:"the webhook that repairs"`
		Validate webhookValues `yaml:"validate" doc:"the webhook that refuses and warns"`
	} `yaml:"webhooks" doc:"the two registrations"`
	Check struct {
		Enabled bool   `yaml:"enabled" doc:"a failurePolicy of Fail takes effect only after a Job has seen the webhook answer; until then it is Ignore. false: it is rendered as it is, for tools that run no hooks"`
		Timeout string `yaml:"timeout" doc:"how long that Job and helm test wait for an answer" pattern:"^([0-9]+(s|m|h))+$"`
	} `yaml:"check" doc:"does the API server reach the webhook?"`
	Certificates struct {
		Mode       string         `yaml:"mode" doc:"self-managed: the webhook makes its own, and publishes its CA. cert-manager: Certificate and CA injection. mounted: a Secret that you keep fresh" enum:"self-managed,cert-manager,mounted"`
		SecretName string         `yaml:"secretName" doc:"cert-manager, mounted: the Secret with tls.crt and tls.key"`
		IssuerRef  map[string]any `yaml:"issuerRef" doc:"cert-manager: {kind, name} of your issuer; default: a CA of its own in this namespace"`
		CABundle   string         `yaml:"caBundle" doc:"mounted: the CA, PEM; empty where somebody else puts it into the registrations"`
	} `yaml:"certificates" doc:"the serving certificate"`
	ClientCA struct {
		Certificates string   `yaml:"certificates" doc:"PEM: only API servers that show a certificate of these CAs are answered, see docs/security.md; empty: everybody"`
		Names        []string `yaml:"names" doc:"common or DNS names that such a certificate may have; []: any"`
	} `yaml:"clientCA" doc:"client certificates of API servers"`
	Replicas            int `yaml:"replicas" doc:"pods of the webhook" min:"0"`
	PodDisruptionBudget struct {
		Enabled        bool `yaml:"enabled" doc:"keep replicas while nodes are drained"`
		MaxUnavailable any  `yaml:"maxUnavailable" doc:"a number or a percentage" type:"integer,string"`
	} `yaml:"podDisruptionBudget" doc:"evictions"`
	TopologySpreadConstraints []map[string]any  `yaml:"topologySpreadConstraints" doc:"without labelSelector, which the chart adds"`
	PriorityClassName         string            `yaml:"priorityClassName" doc:"some clusters allow system-cluster-critical in kube-system only: then name your own, or none"`
	Resources                 map[string]any    `yaml:"resources" doc:"requests and limits of the container"`
	NodeSelector              map[string]string `yaml:"nodeSelector" doc:"labels of nodes"`
	Tolerations               []map[string]any  `yaml:"tolerations" doc:"of taints"`
	Affinity                  map[string]any    `yaml:"affinity" doc:"of nodes and pods"`
	Service                   struct {
		IPFamilyPolicy string            `yaml:"ipFamilyPolicy" doc:"SingleStack, PreferDualStack or RequireDualStack" enum:"SingleStack,PreferDualStack,RequireDualStack"`
		IPFamilies     []string          `yaml:"ipFamilies" doc:"[]: the cluster's own" enum:"IPv4,IPv6"`
		Annotations    map[string]string `yaml:"annotations" doc:"of the Service"`
	} `yaml:"service" doc:"the Service in front of the webhook"`
	NetworkPolicy struct {
		Enabled     bool             `yaml:"enabled" doc:"only the ports of the webhook, the probes and the metrics can be reached"`
		MetricsFrom []map[string]any `yaml:"metricsFrom" doc:"who may read metrics, as from of a NetworkPolicy; []: everybody"`
		EgressPorts []int            `yaml:"egressPorts" doc:"ports of the API server behind Service kubernetes, such as [443, 6443], and nothing else may be dialled; []: no limit" min:"1" max:"65535"`
	} `yaml:"networkPolicy" doc:"NetworkPolicy of the webhook's pods"`
	Monitoring struct {
		PodMonitor struct {
			Enabled  bool              `yaml:"enabled" doc:"each pod is scraped"`
			Interval string            `yaml:"interval" doc:"between two scrapes"`
			Labels   map[string]string `yaml:"labels" doc:"that your Prometheus selects"`
		} `yaml:"podMonitor" doc:"for the Prometheus Operator"`
		ServiceMonitor struct {
			Enabled  bool              `yaml:"enabled" doc:"the same by a Service; use one of the two"`
			Interval string            `yaml:"interval" doc:"between two scrapes"`
			Labels   map[string]string `yaml:"labels" doc:"that your Prometheus selects"`
		} `yaml:"serviceMonitor" doc:"for the Prometheus Operator"`
		Alerts struct {
			Enabled bool              `yaml:"enabled" doc:"a PrometheusRule of files/alerts.yaml"`
			Labels  map[string]string `yaml:"labels" doc:"that your Prometheus selects"`
		} `yaml:"alerts" doc:"alerts"`
		Dashboard struct {
			Enabled     bool              `yaml:"enabled" doc:"a ConfigMap of files/dashboard.json"`
			Labels      map[string]string `yaml:"labels" doc:"that Grafana's sidecar selects"`
			Annotations map[string]string `yaml:"annotations" doc:"such as the folder in Grafana"`
		} `yaml:"dashboard" doc:"Grafana dashboard"`
	} `yaml:"monitoring" doc:"Prometheus and Grafana"`
	Audit struct {
		Enabled         bool           `yaml:"enabled" doc:"needs the CustomResourceDefinitions of openreports.io or wgpolicyk8s.io"`
		Schedule        string         `yaml:"schedule" doc:"when, as of cron"`
		API             string         `yaml:"api" doc:"of the reports. auto: openreports.io where the cluster has it, else wgpolicyk8s.io" enum:"auto,openreports,policyreport"`
		WriteRate       int            `yaml:"writeRate" doc:"reports that are written in a second, at most" min:"1"`
		DeadlineSeconds int            `yaml:"deadlineSeconds" doc:"how long one run may take" min:"1"`
		Resources       map[string]any `yaml:"resources" doc:"requests and limits of the container; docs/scheduled-audit.md has what was measured"`
		ExtraArgs       []string       `yaml:"extraArgs" doc:"more flags of sixgate audit"`
	} `yaml:"audit" doc:"a CronJob that audits what is stored, and writes a report for each object with findings: docs/scheduled-audit.md"`
	Events struct {
		Enabled bool `yaml:"enabled" doc:"an Event for each refusal, also for what would have been refused; needs the right to write Events everywhere"`
	} `yaml:"events" doc:"Events that kubectl describe shows"`
	LogLevel       string            `yaml:"logLevel" doc:"debug, info, warn or error" enum:"debug,info,warn,error"`
	ExtraArgs      []string          `yaml:"extraArgs" doc:"more flags of the webhook"`
	Env            []map[string]any  `yaml:"env" doc:"more environment variables, as in a container"`
	Labels         map[string]string `yaml:"labels" doc:"of every object"`
	Annotations    map[string]string `yaml:"annotations" doc:"of every object"`
	PodLabels      map[string]string `yaml:"podLabels" doc:"of the webhook's pods"`
	PodAnnotations map[string]string `yaml:"podAnnotations" doc:"of the webhook's pods"`
	ServiceAccount struct {
		Annotations map[string]string `yaml:"annotations" doc:"of the ServiceAccount"`
	} `yaml:"serviceAccount" doc:"the webhook's ServiceAccount"`
}

type webhookValues struct {
	FailurePolicy     string `yaml:"failurePolicy" doc:"when no replica answers. Ignore: requests go through; Fail: they are refused, see docs/operations.md" enum:"Ignore,Fail"`
	TimeoutSeconds    int    `yaml:"timeoutSeconds" doc:"how long API servers wait" min:"1" max:"30"`
	NamespaceSelector struct {
		MatchLabels      map[string]string `yaml:"matchLabels" doc:"labels of namespaces that are looked at"`
		MatchExpressions []map[string]any  `yaml:"matchExpressions" doc:"the release's own namespace is always left out"`
	} `yaml:"namespaceSelector" doc:"which namespaces; all by default"`
	ObjectSelector  map[string]any   `yaml:"objectSelector" doc:"which objects, by their labels; {}: all"`
	MatchConditions []map[string]any `yaml:"matchConditions" doc:"more conditions in CEL, beside those that skip what no rule looks at: [{name: …, expression: …}]"`
}

// policyValue is a policy as values, or the text of a file.
type policyValue map[string]any

func defaultValues() *values {
	v := &values{}
	v.Image.Repository, v.Image.PullPolicy = "docker.io/sixgate/webhook", "IfNotPresent"
	for _, w := range []*webhookValues{&v.Webhooks.Mutate, &v.Webhooks.Validate} {
		w.FailurePolicy, w.TimeoutSeconds = "Ignore", 5
	}
	v.Check.Enabled, v.Check.Timeout = true, "4m"
	v.Certificates.Mode, v.Certificates.SecretName = "self-managed", "sixgate-webhook-tls"
	v.Replicas = 2
	v.PodDisruptionBudget.Enabled, v.PodDisruptionBudget.MaxUnavailable = true, 1
	v.TopologySpreadConstraints = []map[string]any{{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}}
	v.PriorityClassName = "system-cluster-critical"
	v.Resources = map[string]any{
		"requests": map[string]any{"cpu": "50m", "memory": "64Mi"},
		"limits":   map[string]any{"memory": "256Mi"},
	}
	v.Service.IPFamilyPolicy, v.Service.IPFamilies = "SingleStack", []string{"IPv6"}
	v.NetworkPolicy.Enabled = true
	v.Monitoring.PodMonitor.Interval, v.Monitoring.ServiceMonitor.Interval = "30s", "30s"
	v.Monitoring.Dashboard.Labels = map[string]string{"grafana_dashboard": "1"}
	v.Audit.Schedule, v.Audit.API, v.Audit.WriteRate, v.Audit.DeadlineSeconds = "17 */6 * * *", "auto", 50, 3600
	v.Audit.Resources = map[string]any{
		"requests": map[string]any{"cpu": "50m", "memory": "128Mi"},
		"limits":   map[string]any{"memory": "512Mi"},
	}
	v.LogLevel = "info"
	return v
}

// valuesFile is values.yaml: each default under its description.
func valuesFile() ([]byte, error) {
	root, err := valuesNode(reflect.ValueOf(defaultValues()).Elem())
	if err != nil {
		return nil, fmt.Errorf("encode values: %w", err)
	}
	var b bytes.Buffer
	b.WriteString("# Generated from tools/generate/values.go by `make generate`; do not edit. Give your own file: helm install -f my-values.yaml\n\n")
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	err = e.Encode(root)
	return b.Bytes(), err
}

func valuesNode(v reflect.Value) (*yaml.Node, error) {
	if v.Kind() != reflect.Struct {
		n := &yaml.Node{}
		switch {
		case v.Kind() == reflect.Slice && v.Len() == 0:
			return &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}, nil
		case v.Kind() == reflect.Map && v.Len() == 0:
			return &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}, nil
		}
		return n, n.Encode(v.Interface())
	}
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		value, err := valuesNode(v.Field(i))
		if err != nil {
			return nil, err
		}
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: f.Tag.Get("yaml"), HeadComment: f.Tag.Get("doc")}
		n.Content = append(n.Content, key, value)
	}
	return n, nil
}

// valuesTable are the rows of the README.
func valuesTable() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("| value | default | |\n| --- | --- | --- |\n")
	var walk func(v reflect.Value, path string) error
	walk = func(v reflect.Value, path string) error {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			at := path + f.Tag.Get("yaml")
			if f.Type.Kind() == reflect.Struct {
				if err := walk(v.Field(i), at+"."); err != nil {
					return err
				}
				continue
			}
			value := v.Field(i)
			if (value.Kind() == reflect.Slice || value.Kind() == reflect.Map) && value.IsNil() {
				value = reflect.MakeMap(reflect.TypeFor[map[string]any]())
				if f.Type.Kind() == reflect.Slice {
					value = reflect.ValueOf([]string{})
				}
			}
			def, err := json.Marshal(value.Interface())
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", at, def, strings.ReplaceAll(f.Tag.Get("doc"), "|", "\\|"))
		}
		return nil
	}
	err := walk(reflect.ValueOf(defaultValues()).Elem(), "")
	return b.Bytes(), err
}

// valuesSchema is values.schema.json.
func valuesSchema() ([]byte, error) {
	s := schemaOf(reflect.TypeFor[values](), "")
	s["$schema"] = "http://json-schema.org/draft-07/schema#"
	s["title"] = "Values of the chart sixgate"
	s["properties"].(map[string]any)["global"] = map[string]any{"type": "object", "description": "of a chart that has this one as a dependency; not read"}
	data, err := json.MarshalIndent(s, "", "  ")
	return append(data, '\n'), err
}

// schemaOf is the schema of a type, and of the tags of the field that has it.
func schemaOf(t reflect.Type, tags reflect.StructTag) map[string]any {
	s := map[string]any{}
	if doc := tags.Get("doc"); doc != "" {
		s["description"] = doc
	}
	number := func(name, tag string) {
		if v := tags.Get(tag); v != "" {
			s[name] = json.Number(v)
		}
	}
	switch {
	case t == reflect.TypeFor[policyValue]():
		// false is what YAML 1.1 makes of off.
		s["oneOf"] = []any{map[string]any{"type": "string"}, policySchema(reflect.TypeFor[rules.Policy](), "")}
	case tags.Get("type") != "":
		s["type"] = strings.Split(tags.Get("type"), ",")
	case t.Kind() == reflect.Struct:
		s["type"], s["additionalProperties"] = "object", false
		properties := map[string]any{}
		for f := range t.Fields() {
			properties[f.Tag.Get("yaml")] = schemaOf(f.Type, f.Tag)
		}
		s["properties"] = properties
	case t.Kind() == reflect.Slice:
		inner := reflect.StructTag("")
		for _, name := range []string{"enum", "min", "max"} {
			if v := tags.Get(name); v != "" {
				inner += reflect.StructTag(fmt.Sprintf("%s:%q ", name, v))
			}
		}
		s["type"], s["items"] = "array", schemaOf(t.Elem(), inner)
	case t.Kind() == reflect.Map:
		s["type"] = "object"
		if t.Elem().Kind() == reflect.String {
			s["additionalProperties"] = map[string]any{"type": "string"}
		}
	case t.Kind() == reflect.Int:
		s["type"] = "integer"
		number("minimum", "min")
		number("maximum", "max")
	case t.Kind() == reflect.Bool:
		s["type"] = "boolean"
	case t.Kind() == reflect.String:
		s["type"] = "string"
		if v := tags.Get("enum"); v != "" {
			s["enum"] = strings.Split(v, ",")
		}
		if v := tags.Get("pattern"); v != "" {
			s["pattern"] = v
		}
	}
	return s
}

// policySchema is the shape of a policy, which pkg/rules checks further when the webhook reads it.
func policySchema(t reflect.Type, path string) map[string]any {
	level := []any{"off", "warn", "deny", false}
	enums := map[string][]any{
		".apiVersion":                  {rules.PolicyVersion},
		".kind":                        {rules.PolicyKind},
		".cluster.families[]":          {"IPv4", "IPv6"},
		".cluster.nodes":               {"IPv6", "DualStack"},
		".services.mode":               {"SingleStack", "Headless", "Unchanged"},
		".services.whenHeadlessUnsafe": level,
		".apiServer.envFrom":           {"skip", "inject"},
		".pools[].annotate":            {"Pod", "Namespace"},
		".pools[].ipFamilies[]":        {"IPv4", "IPv6"},
	}
	if e := enums[path]; e != nil {
		return map[string]any{"enum": e}
	}
	object := func(properties map[string]any) map[string]any {
		return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	}
	switch {
	case t == reflect.TypeFor[map[string]rules.Setting]():
		properties := map[string]any{}
		for _, r := range rules.All() {
			setting := map[string]any{"level": map[string]any{"enum": level}}
			if r.Mutate || r.MayMutate {
				setting["mutate"] = map[string]any{"type": "boolean"}
			} else {
				setting["mutate"] = map[string]any{"enum": []any{false}}
			}
			properties[r.ID] = map[string]any{"description": r.Title, "oneOf": []any{map[string]any{"enum": level}, object(setting)}}
		}
		return object(properties)
	case t == reflect.TypeFor[rules.HeadlessList]():
		return map[string]any{"oneOf": []any{map[string]any{"enum": []any{"all"}}, map[string]any{"type": "array", "items": map[string]any{"type": "string"}}}}
	case t.Kind() == reflect.Struct:
		properties := map[string]any{}
		for f := range t.Fields() {
			if name := f.Tag.Get("yaml"); name != "" {
				properties[name] = policySchema(f.Type, path+"."+name)
			}
		}
		return object(properties)
	case t.Kind() == reflect.Slice:
		return map[string]any{"type": "array", "items": policySchema(t.Elem(), path+"[]")}
	case t.Kind() == reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": policySchema(t.Elem(), path+"{}")}
	case t.Kind() == reflect.Int:
		return map[string]any{"type": "integer"}
	case t.Kind() == reflect.Bool:
		return map[string]any{"type": "boolean"}
	}
	return map[string]any{"type": "string"}
}

// repairsConfigMaps are the rules that repair ConfigMaps at admission where the policy says so.
func repairsConfigMaps() (out []string) {
	for _, r := range rules.All() {
		if r.MayMutate && slices.ContainsFunc(r.Targets, func(t rules.Target) bool { return t.Kind == "ConfigMap" }) {
			out = append(out, r.ID)
		}
	}
	return out
}
