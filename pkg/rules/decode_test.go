package rules

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// decodeSeeds are texts that decoders disagree about.
var decodeSeeds = []string{
	`{}`, `{"a":null}`, ` {"a" : [ ] , "b" : {} } `, `{"a":1,"a":{"b":2},"a":[3]}`, `{"A":1,"a":2}`, `{"a":{"x":1},"a":{"y":2}}`,
	`{"n":[9007199254740993,-9223372036854775808,9223372036854775807,9223372036854775808,18446744073709551616,-0,0,1.5,1e3,1E-3,-0.0,1e308]}`,
	`{"n":1e309}`, `{"n":-1e999}`, `{"n":01}`, `{"n":.5}`, `{"n":+1}`, `{"n":NaN}`,
	`{"\u0061":"\u00e4\ud83d\ude00\ud800x\udc00\ud800\ud800\"\\\/\b\f\n\r\t"}`, "{\"a\":\"\xff\xc3\x28\xe2\x82\xed\xa0\x80\"}", "{\"\xff\":1}", `{"a":"\x"}`, `{"a":"\u12"}`,
	"{\"a\":\"\x01\"}", "\ufeff{}", `{"a":tru}`, `{"a":1,}`, `{"a":1}}`, `{"a":1} {}`, `{"a"}`, `{,}`, `[1]`, `null`, `"x"`, `1`, ``, ` `, `{`, `{"a":[`, `{"a":"`, `{a:1}`,
	`{"spec":{"addresses":{"fd00:":null}},"status":{"x:":null},"metadata":{"managedFields":[{"fd00:":null}],"name":"x"}}`,
	`{"a":` + strings.Repeat("[", 9998) + strings.Repeat("]", 9998) + `}`, `{"a":` + strings.Repeat("[", 10001) + strings.Repeat("]", 10001) + `}`,
	`{"é":"é","` + strings.Repeat("k", 70) + `":"","":0}`,
}

// FuzzDecode: what is decoded, and what is refused, is what the API server's own decoder decodes and refuses.
func FuzzDecode(f *testing.F) {
	for _, s := range decodeSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		var want map[string]any
		err := utiljson.Unmarshal(text, &want)
		got, gotErr := ParseObject(text)
		if (err == nil && want != nil) != (gotErr == nil) {
			t.Fatalf("%.200q: %v; util/json: %v", text, gotErr, err)
		}
		if gotErr != nil {
			return
		}
		if !reflect.DeepEqual(got.Root(), want) {
			t.Fatalf("%.200q: %v; util/json: %v", text, got.Root(), want)
		}
		if quoted := !hasUnquoted(want); got.quoted && !quoted {
			t.Fatalf("%.200q: a field without quotes is not noticed", text)
		}

		d := NewDecoder(text)
		defer d.Free()
		short, err := d.Object()
		if err != nil {
			t.Fatalf("%.200q: %v", text, err)
		}
		delete(want, "status")
		if m, ok := want["metadata"].(map[string]any); ok {
			delete(m, "managedFields")
		}
		if !reflect.DeepEqual(short.Root(), want) {
			t.Fatalf("%.200q: %v; without what no rule reads: %v", text, short.Root(), want)
		}
		for i := range text {
			text[i] = 'x' // the buffer is used for another request
		}
		if !reflect.DeepEqual(short.Root(), want) {
			t.Fatalf("%.200q: the tree is part of the text", before)
		}
	})
}

// TestUnread: no rule says anything else of an object whose status and managedFields are left out.
func TestUnread(t *testing.T) {
	for _, c := range loadCases(t) {
		object := mustParse(t, c.raw).Root()
		object["status"] = map[string]any{"podIP": "10.0.0.1", "addresses": []any{"10.0.0.1"}, "fd00:": nil, "conditions": []any{object["spec"]}}
		if m, ok := object["metadata"].(map[string]any); ok {
			m["managedFields"] = []any{map[string]any{"manager": "10.0.0.1", "fd00:": nil}}
		}
		raw, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		whole := c.with(t, raw)
		short := *whole
		d := NewDecoder(raw)
		if short.Object, err = d.Object(); err != nil {
			t.Fatal(err)
		}
		d.Free()
		want, got := c.findings(whole), c.findings(&short)
		for i := range max(len(want), len(got)) {
			if i >= len(want) || i >= len(got) || want[i].String() != got[i].String() {
				t.Errorf("%s: %v, but of the whole object %v", c.name, got, want)
				break
			}
		}
	}
}

// TestDecoderErrors: what is no JSON ends the reading, what is no object does not.
func TestDecoderErrors(t *testing.T) {
	for text, left := range map[string]bool{`"x"`: true, `[1,2]`: true, `null`: true, `{"n":1e999}`: true, `{`: false, `{"a":}`: false} {
		d := NewDecoder([]byte(text))
		o, err := d.Object()
		if err == nil || o != nil {
			t.Errorf("%s: %v, %v", text, o, err)
		}
		if end := d.End(); (end == nil) != left {
			t.Errorf("%s: then %v", text, end)
		}
		d.Free()
	}
}
