package report

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/sixgate/sixgate/pkg/rules"
)

// maxSARIFResults is how many results of one run GitHub takes; it shows 5,000 of them, the worst first
// (docs.github.com, "SARIF support for code scanning", limits).
const maxSARIFResults = 25000

// The parts of SARIF 2.1.0 (OASIS standard) that we write. The well-known library writes some fifteen empty lists with each
// result and needs all results in memory.
type (
	sarifDriver struct {
		Name            string      `json:"name"`
		InformationURI  string      `json:"informationUri"`
		Version         string      `json:"version,omitempty"`
		SemanticVersion string      `json:"semanticVersion,omitempty"`
		Rules           []sarifRule `json:"rules"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifRule struct {
		ID                   string         `json:"id"`
		Name                 string         `json:"name"`
		ShortDescription     sarifText      `json:"shortDescription"`
		FullDescription      sarifText      `json:"fullDescription"`
		Help                 sarifText      `json:"help"`
		HelpURI              string         `json:"helpUri"`
		DefaultConfiguration sarifLevel     `json:"defaultConfiguration"`
		Properties           map[string]any `json:"properties"`
	}
	sarifLevel struct {
		Level string `json:"level"`
	}
	sarifResult struct {
		RuleID              string            `json:"ruleId"`
		RuleIndex           int               `json:"ruleIndex"`
		Level               string            `json:"level"`
		Message             sarifText         `json:"message"`
		Locations           []sarifLocation   `json:"locations"`
		PartialFingerprints map[string]string `json:"partialFingerprints"`
		Properties          map[string]any    `json:"properties"`
	}
	sarifLocation struct {
		PhysicalLocation sarifPhysical  `json:"physicalLocation"`
		LogicalLocations []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		ArtifactLocation sarifArtifact `json:"artifactLocation"`
		Region           *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI       string `json:"uri"`
		URIBaseID string `json:"uriBaseId,omitempty"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
	sarifLogical struct {
		FullyQualifiedName string `json:"fullyQualifiedName"`
		Kind               string `json:"kind"`
	}
	sarifNotification struct {
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifInvocation struct {
		ExecutionSuccessful        bool                `json:"executionSuccessful"`
		ExitCode                   int                 `json:"exitCode"`
		ToolExecutionNotifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
)

// semanticVersion is what semver.org allows, after Go's "v".
var semanticVersion = regexp.MustCompile(`^v(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)$`)

// writeSARIF writes one run of SARIF 2.1.0. Of more than 25,000 findings the warnings that come last are left out, and the run
// says so.
func (r *Report) writeSARIF(w io.Writer, o Options) error {
	driver := sarifDriver{Name: "sixgate", InformationURI: Site, Version: o.Version, Rules: []sarifRule{}}
	if m := semanticVersion.FindStringSubmatch(o.Version); m != nil {
		driver.SemanticVersion = m[1]
	}
	index := map[string]int{}
	for _, rule := range rules.All() {
		if r.Summary.ByRule[rule.ID] > 0 {
			index[rule.ID] = len(driver.Rules)
			driver.Rules = append(driver.Rules, newSARIFRule(rule))
		}
	}
	invocation := sarifInvocation{ExecutionSuccessful: r.Summary.ExitCode != 3, ExitCode: r.Summary.ExitCode}
	for i := range r.Errors {
		e := &r.Errors[i]
		n := sarifNotification{Level: "error", Message: sarifText{Text: Printable(e.Message)}, Locations: o.sarifLocation(e.File, "", e.Line, e.Column)}
		if e.Audited {
			n.Level = "warning"
		}
		invocation.ToolExecutionNotifications = append(invocation.ToolExecutionNotifications, n)
	}
	kept := r.worst()
	if left := len(kept) - maxSARIFResults; left > 0 {
		kept = kept[:maxSARIFResults]
		invocation.ToolExecutionNotifications = append(invocation.ToolExecutionNotifications, sarifNotification{
			Level: "warning", Message: sarifText{Text: fmt.Sprintf("%d findings are left out: GitHub takes %d results of one run", left, maxSARIFResults)},
		})
	}
	s := &stream{w: w}
	s.text(`{"$schema":"https://json.schemastore.org/sarif-2.1.0.json","version":"2.1.0","runs":[{"tool":{"driver":`)
	s.json(driver)
	s.text(`},"columnKind":"unicodeCodePoints","invocations":[`)
	s.json(invocation)
	s.text(`],"results":[`)
	for i, f := range kept {
		s.separate(i)
		result := sarifResult{
			RuleID: f.Rule, RuleIndex: index[f.Rule], Level: sarifSeverity(f.Level),
			Message:   sarifText{Text: f.object() + ": " + Printable(f.line)},
			Locations: o.sarifLocation(f.File, f.Template, f.Line, f.Column),
			// The one key that GitHub follows a finding by.
			PartialFingerprints: map[string]string{"primaryLocationLineHash": f.Fingerprint},
			Properties:          map[string]any{"fixable": f.Fixable, "repairedByWebhook": f.Repaired},
		}
		result.Locations[0].LogicalLocations = []sarifLogical{{FullyQualifiedName: f.object() + ": " + f.Path, Kind: "object"}}
		s.json(result)
	}
	s.text("\n]}]}\n")
	return s.err
}

func newSARIFRule(rule *rules.Rule) sarifRule {
	doc := rules.Doc(rule.ID)
	return sarifRule{
		ID: rule.ID, Name: rule.ID,
		ShortDescription: sarifText{Text: rule.Title}, FullDescription: sarifText{Text: rule.Title},
		Help:                 sarifText{Text: doc, Markdown: "# " + rule.ID + "\n\n" + rule.Title + ".\n\n" + doc},
		HelpURI:              rulePage(rule.ID),
		DefaultConfiguration: sarifLevel{sarifSeverity(rule.Level.String())},
		Properties:           map[string]any{"tags": []string{"kubernetes", "ipv6"}, "precision": "high", "problem.severity": sarifSeverity(rule.Level.String())},
	}
}

func sarifSeverity(level string) string {
	if level == rules.Deny.String() {
		return "error"
	}
	return "warning"
}

func (o *Options) sarifLocation(file, template string, line, column int) []sarifLocation {
	file, line, column = o.location(file, template, line, column)
	l := sarifLocation{PhysicalLocation: sarifPhysical{ArtifactLocation: sarifArtifact{URI: o.uri(file)}}}
	if !strings.HasPrefix(l.PhysicalLocation.ArtifactLocation.URI, "/") {
		l.PhysicalLocation.ArtifactLocation.URIBaseID = "%SRCROOT%"
	}
	if line > 0 {
		l.PhysicalLocation.Region = &sarifRegion{StartLine: line, StartColumn: column}
	}
	return []sarifLocation{l}
}

// worst returns all findings, those of level deny first.
func (r *Report) worst() []*Finding {
	out := make([]*Finding, 0, len(r.Findings))
	for _, denied := range []bool{true, false} {
		for i := range r.Findings {
			if f := &r.Findings[i]; (f.Level == rules.Deny.String()) == denied {
				out = append(out, f)
			}
		}
	}
	return out
}

// A stream writes JSON piece by piece, and keeps the first error.
type stream struct {
	w   io.Writer
	err error
}

func (s *stream) text(text string) {
	if s.err == nil {
		_, s.err = io.WriteString(s.w, text)
	}
}

// separate puts elements of a list on lines of their own.
func (s *stream) separate(i int) {
	if i > 0 {
		s.text(",")
	}
	s.text("\n")
}

func (s *stream) json(v any) {
	if s.err != nil {
		return
	}
	data, err := json.Marshal(v)
	if s.err = err; err == nil {
		_, s.err = s.w.Write(data)
	}
}
