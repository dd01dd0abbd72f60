package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	openreports "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"

	"github.com/sixgate/sixgate/pkg/rules"
)

// TestObjectReports: a report has all of one object and nothing of another one, also where two groups have objects of the same kind and
// name; it stays below its limit with what is denied first; and the same findings are the same bytes.
func TestObjectReports(t *testing.T) {
	at := func(uid, namespace string) At {
		return At{File: namespace + "/NetworkPolicy/a", Kind: "NetworkPolicy", Namespace: namespace, Name: "a", apiVersion: "v1", uid: uid}
	}
	r := NewStored()
	finding := func(at At, level, message string) {
		r.Findings = append(r.Findings, Finding{At: at, Rule: "r", Level: level, Message: message, line: message})
	}
	finding(at("1", "shop"), "warn", "first")
	finding(at("2", "shop"), "deny", "of another group")
	finding(at("1", "shop"), "deny", "second")
	finding(at("3", ""), "deny", "cluster-wide")
	finding(At{File: "a.yaml", Namespace: "shop"}, "deny", "of a file")
	for i := range 2000 {
		finding(at("4", "web"), map[bool]string{true: "deny", false: "warn"}[i == 1999], fmt.Sprint(i, strings.Repeat("x", 200)))
	}
	r.Skipped = []Skipped{{At: at("1", "shop"), Rule: "s", Reason: "why", Hides: 1}, {At: at("5", "shop"), Rule: "s", Reason: "hides nothing"}}
	r.Finish(rules.None)

	var names []string
	for _, o := range r.ObjectReports() {
		names = append(names, o.Namespace+"/"+o.Name)
		for _, api := range PolicyAPIs() {
			data, digest, err := o.JSON(api)
			if err != nil {
				t.Fatal(err)
			}
			again, same, err := o.JSON(api)
			if err != nil || string(again) != string(data) || same != digest {
				t.Errorf("%s is not the same twice (%v)", o.Name, err)
			}
			var got openreports.Report
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
			if got.Annotations[ObjectReportDigest] != digest || got.Labels[ObjectReportLabel] != "object" || string(got.OwnerReferences[0].UID) != o.at.uid {
				t.Errorf("%+v", got.ObjectMeta)
			}
			if cluster := strings.HasPrefix(got.Kind, "Cluster"); cluster != (o.Namespace == "") {
				t.Errorf("%s in namespace %q", got.Kind, o.Namespace)
			}
			switch first := got.Results[0].Description; o.at.uid {
			case "1":
				if len(got.Results) != 3 || first != "second" || got.Summary.Fail != 1 || got.Summary.Warn != 1 || got.Summary.Skip != 1 {
					t.Errorf("%+v", got)
				}
			case "4":
				last := got.Results[len(got.Results)-1].Description
				if len(data) > maxReport+4096 || !strings.HasPrefix(first, "1999") || last != fmt.Sprintf("%d more are left out of this report: sixgate audit --cluster", 2001-len(got.Results)) || got.Summary.Warn != 1999 {
					t.Errorf("%d bytes, %d results, %q … %q, %+v", len(data), len(got.Results), first, last, got.Summary)
				}
			}
		}
	}
	if got := strings.Join(names, " "); got != "/sixgate-3 shop/sixgate-1 shop/sixgate-2 web/sixgate-4" {
		t.Error(got)
	}
}
