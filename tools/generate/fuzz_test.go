package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cmscheme "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/scheme"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

// A valuesMaker makes values that a schema allows. Each byte decides one thing; where they end, so do the values.
type valuesMaker struct{ bytes []byte }

func (m *valuesMaker) next(n int) int {
	if len(m.bytes) == 0 || n < 2 {
		return 0
	}
	b := int(m.bytes[0])
	m.bytes = m.bytes[1:]
	return b % n
}

// texts are what YAML reads as something else where a template does not quote it.
var texts = []string{
	"a", "", "yes", "null", "~", "0123", "1e3", "0x1F", "-1", "1_000", "2027-03-01", "::1", "a: b", "a #b", "#", "- a", "[a", "{a", "}", "*a", "&a", "!a", "|", ">", "%a", "@", "`",
	"\"", "'", "\\", "a\nb", "\n", "a\n---\nkind: Injected", " a ", "\t", "{{ .Values.image }}", "{{", "}}", "{{ fail \"x\" }}", "$(A)", "ä", "\u2028", "\U0001f600", strings.Repeat("x", 300),
}

func (m *valuesMaker) text() string { return texts[m.next(len(texts))] }

// free are the values whose content is Kubernetes' own, by their key; "?" stands for any text.
var free = map[string]string{
	"affinity":                  `{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"?","operator":"In","values":["?"]}]}]}}}`,
	"env":                       `{"name":"?","value":"?"}`,
	"envFrom":                   `{"configMapRef":{"name":"?"}}`,
	"imagePullSecrets":          `{"name":"?"}`,
	"issuerRef":                 `{"name":"?","kind":"?"}`,
	"matchConditions":           `{"name":"?","expression":"?"}`,
	"matchExpressions":          `{"key":"?","operator":"In","values":["?"]}`,
	"metricsFrom":               `{"namespaceSelector":{"matchLabels":{"?":"?"}}}`,
	"namespaceSelector":         `{"matchLabels":{"?":"?"}}`,
	"objectSelector":            `{"matchLabels":{"?":"?"}}`,
	"resources":                 `{"limits":{"memory":"64Mi"}}`,
	"tolerations":               `{"key":"?","operator":"Exists"}`,
	"topologySpreadConstraints": `{"maxSkew":1,"topologyKey":"?","whenUnsatisfiable":"ScheduleAnyway"}`,
}

func (m *valuesMaker) fill(v any) any {
	switch v := v.(type) {
	case string:
		if v == "?" {
			return m.text()
		}
	case []any:
		for i := range v {
			v[i] = m.fill(v[i])
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			e := m.fill(v[k])
			delete(v, k)
			if k == "?" {
				k = m.text()
			}
			v[k] = e
		}
	}
	return v
}

func (m *valuesMaker) make(key string, schema map[string]any) any {
	if of, ok := schema["oneOf"].([]any); ok {
		return m.make(key, of[m.next(len(of))].(map[string]any))
	}
	if of, ok := schema["enum"].([]any); ok {
		return of[m.next(len(of))]
	}
	kind := schema["type"]
	if of, ok := kind.([]any); ok {
		kind = of[m.next(len(of))]
	}
	switch kind {
	case "boolean":
		return m.next(2) == 1
	case "integer", "number":
		low, _ := schema["minimum"].(float64)
		high, ok := schema["maximum"].(float64)
		if !ok {
			high = 86400 * 365 // which a template writes as 3.1536e+07 if it is not told
		}
		return []float64{low, low + 1, high}[m.next(3)]
	case "string":
		switch pattern, _ := schema["pattern"].(string); {
		case strings.Contains(pattern, "sha256"):
			return []string{"", "sha256:" + strings.Repeat("0a", 32)}[m.next(2)]
		case pattern != "":
			return []string{"5s", "1m30s", "1h"}[m.next(3)]
		}
		return m.text()
	case "array":
		list := []any{}
		items, _ := schema["items"].(map[string]any)
		for range m.next(4) {
			list = append(list, m.make(key, items))
		}
		return list
	}
	given := map[string]any{}
	properties, _ := schema["properties"].(map[string]any)
	if sample, ok := free[key]; ok && len(properties) == 0 {
		if err := json.Unmarshal([]byte(sample), &given); err != nil {
			panic(err)
		}
		return m.fill(given)
	}
	if names := slices.Sorted(maps.Keys(properties)); len(names) > 0 {
		for range m.next(8) {
			name := names[m.next(len(names))]
			given[name] = m.make(name, properties[name].(map[string]any))
		}
	}
	if more, ok := schema["additionalProperties"].(map[string]any); ok {
		for range m.next(3) {
			given[m.text()] = m.make(key, more)
		}
	}
	return given
}

// FuzzChart: whatever values the schema allows, the chart renders, and each object decodes strictly: nothing is read as another type, no field is
// unknown, and a text stays within its field.
func FuzzChart(f *testing.F) {
	text, err := os.ReadFile(filepath.Join(rootFolder(), chartFolder, "values.schema.json"))
	if err != nil {
		f.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		f.Fatal(err)
	}
	all := runtime.NewScheme()
	utilruntime.Must(scheme.AddToScheme(all))
	utilruntime.Must(cmscheme.AddToScheme(all))
	decoder := kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, all, all, kjson.SerializerOptions{Yaml: true, Strict: true})
	random := rand.NewChaCha8([32]byte{1})
	for i := range 60 {
		seed := make([]byte, 4*i)
		_, _ = random.Read(seed)
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := loadChart(repository(), nil)
		if err != nil {
			t.Fatal(err)
		}
		given := (&valuesMaker{data}).make("", schema).(map[string]any)
		values, err := json.Marshal(given)
		if err != nil {
			t.Fatal(err)
		}
		rendered, err := renderChart(c, given)
		if err != nil {
			if strings.Contains(err.Error(), "schema") {
				return // a policy's oneOf
			}
			t.Fatalf("%s: %v", values, err)
		}
		for name, text := range rendered {
			if strings.HasPrefix(name, "_") || !strings.HasSuffix(name, ".yaml") {
				continue
			}
			for docs := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text))); ; {
				doc, err := docs.Read()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				var object map[string]any
				if err := utilyaml.Unmarshal(doc, &object); err == nil && len(object) == 0 {
					continue // comments
				}
				if object["kind"] == "Injected" {
					t.Errorf("%s: %s has an object out of a text:\n%s", values, name, doc)
				}
				if _, _, err := decoder.Decode(doc, nil, nil); err != nil && !runtime.IsNotRegisteredError(err) {
					t.Errorf("%s: %s: %v\n%s", values, name, err, doc)
				}
			}
		}
	})
}
