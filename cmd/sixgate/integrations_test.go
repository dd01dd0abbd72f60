package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	sigsyaml "sigs.k8s.io/yaml"
)

const brokenService = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ipFamilies: [IPv4] # why\n"

// strict reads a document with no fields but those that its tool documents.
func strict(t *testing.T, text []byte, into any) {
	t.Helper()
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil {
		t.Fatal(err)
	}
}

func readRoot(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// shellRun runs a script as a CI system does, with sixgate on PATH.
func shellRun(t *testing.T, dir string, shell, env []string, script string) (output string, code int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "script.sh")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath(shell[0]); err != nil {
		t.Skipf("%v", err)
	}
	cmd := exec.CommandContext(t.Context(), shell[0], append(shell[1:], file)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// writeFiles makes a folder with a file to be repaired, one that is clean, and a policy that only warns.
func writeFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"deploy/a b/service.yaml": brokenService,
		"clean.yaml":              "apiVersion: v1\nkind: Service\nmetadata: {name: clean}\n",
		"warn.yaml":               "apiVersion: sixgate.io/v1alpha1\nkind: Policy\nrules: {service-ip-family: warn}\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// An action is action.yml, by docs.github.com/en/actions/reference/workflows-and-actions/metadata-syntax.
type action struct {
	Name, Description, Author string
	Branding                  struct{ Icon, Color string }
	Inputs                    map[string]struct {
		Description, Default string
		Required             bool
	}
	Outputs map[string]struct{ Description, Value string }
	Runs    struct {
		Using string
		Steps []struct {
			Name, ID, Uses, Shell, Run string
			With, Env                  map[string]string
		}
	}
}

// TestAction runs the last step of the GitHub Action as a runner does.
func TestAction(t *testing.T) {
	var a action
	strict(t, readRoot(t, "action.yml"), &a)
	if a.Name == "" || a.Description == "" || a.Runs.Using != "composite" {
		t.Errorf("%+v", a)
	}
	for _, step := range a.Runs.Steps {
		if (step.Run == "") == (step.Uses == "") || (step.Run != "") != (step.Shell != "") {
			t.Errorf("step %q: run goes with shell, uses with neither", step.Name)
		}
		if strings.Contains(step.Run, "${{") {
			t.Errorf("step %q: an expression in a script is read by the shell", step.Name)
		}
	}
	step := a.Runs.Steps[len(a.Runs.Steps)-1]
	input := regexp.MustCompile(`^\$\{\{ inputs\.([a-z-]+) \}\}$`)
	for _, tt := range []struct {
		name   string
		with   map[string]string
		code   int
		output string
		report string
	}{
		{"defaults", nil, 1, "::error file=deploy/a b/service.yaml,line=5", ""},
		{"paths", map[string]string{"paths": "clean.yaml\n\nwarn.yaml\n"}, 0, "", ""},
		{"policy", map[string]string{"policy": "warn.yaml"}, 0, "::warning file=deploy/a b/service.yaml", ""},
		{"level", map[string]string{"policy": "warn.yaml", "fail-on": "warn"}, 1, "::warning", ""},
		{"none", map[string]string{"fail-on": "none", "reports": "sarif=out.sarif\njson=out.json"}, 0, "::error", "out.sarif"},
		{"arguments", map[string]string{"args": "--namespace\nkube-node-lease", "paths": "deploy/a b"}, 0, "", ""},
		{"no shell", map[string]string{"paths": "$(touch out.txt); `touch out.txt`"}, 3, "no such file", ""},
		{"no flag", map[string]string{"paths": "--help"}, 3, "no such file", ""},
		{"bad level", map[string]string{"fail-on": "error"}, 3, "must be one of", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, temp := writeFiles(t), t.TempDir()
			if err := os.Mkdir(filepath.Join(temp, "sixgate"), 0o755); err != nil {
				t.Fatal(err)
			}
			summary, outputs := filepath.Join(temp, "summary"), filepath.Join(temp, "outputs")
			env := []string{"RUNNER_TEMP=" + temp, "GITHUB_STEP_SUMMARY=" + summary, "GITHUB_OUTPUT=" + outputs, "GITHUB_WORKSPACE=" + dir}
			for name, value := range step.Env {
				m := input.FindStringSubmatch(value)
				if m == nil {
					t.Fatalf("%s: %s", name, value)
				}
				in, ok := a.Inputs[m[1]]
				if !ok {
					t.Fatalf("%s: no input %s", name, m[1])
				}
				given, ok := tt.with[m[1]]
				if !ok {
					given = in.Default
				}
				env = append(env, name+"="+given)
			}
			for name := range tt.with {
				if _, ok := a.Inputs[name]; !ok {
					t.Fatalf("no input %s", name)
				}
			}
			out, code := shellRun(t, dir, []string{"bash", "--noprofile", "--norc", "-eo", "pipefail"}, env, step.Run)
			if code != tt.code || !strings.Contains(out, tt.output) {
				t.Errorf("exit code %d, want %d:\n%s", code, tt.code, out)
			}
			if got, _ := os.ReadFile(outputs); string(got) != fmt.Sprintf("exit-code=%d\n", tt.code) {
				t.Errorf("outputs %q", got)
			}
			if got, _ := os.ReadFile(summary); tt.name != "bad level" && !strings.Contains(string(got), "#") {
				t.Errorf("summary %q", got)
			}
			if _, err := os.Stat(filepath.Join(dir, tt.report)); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "out.txt")); err == nil {
				t.Error("the shell has read a path")
			}
		})
	}
}

type gitlabInputs map[string]struct {
	Description, Type, Regex string
	Default                  *string
	Options                  []string
}

// gitlab reads templates/sixgate.yml, and puts inputs into it as GitLab does (docs.gitlab.com/ci/inputs).
func gitlab(t *testing.T, with map[string]string) (inputs gitlabInputs, job gitlabJob) {
	t.Helper()
	head, body, ok := bytes.Cut(readRoot(t, "templates/sixgate.yml"), []byte("\n---\n"))
	if !ok {
		t.Fatal("no header")
	}
	var spec struct{ Spec struct{ Inputs gitlabInputs } }
	strict(t, head, &spec)
	inputs = spec.Spec.Inputs
	text := regexp.MustCompile(`\$\[\[ inputs\.([a-z-]+) \]\]`).ReplaceAllFunc(body, func(m []byte) []byte {
		name := strings.Fields(string(m))[1][len("inputs."):]
		in, ok := inputs[name]
		if !ok || in.Default == nil {
			t.Fatalf("no input %s, or it must be given", name)
		}
		given, ok := with[name]
		if !ok {
			given = *in.Default
		}
		if in.Options != nil && !slices.Contains(in.Options, given) {
			t.Fatalf("%s: %q", name, given)
		}
		return []byte(given)
	})
	var jobs map[string]gitlabJob
	strict(t, text, &jobs)
	if len(jobs) != 1 {
		t.Fatalf("%d jobs", len(jobs))
	}
	return inputs, jobs["sixgate"]
}

type gitlabJob struct {
	Stage, Image string
	Variables    map[string]string
	Script       []string
	Artifacts    struct {
		When    string
		Reports struct{ Codequality, Junit string }
	}
}

// TestGitLab runs the script of the template as a runner does.
func TestGitLab(t *testing.T) {
	for _, tt := range []struct {
		with   map[string]string
		code   int
		output string
	}{
		{nil, 1, "service.yaml:5:16: deny: "},
		{map[string]string{"paths": "clean.yaml warn.yaml"}, 0, "1 clean"},
		{map[string]string{"policy": "warn.yaml"}, 0, ": warn: "},
		{map[string]string{"policy": "warn.yaml", "fail-on": "warn"}, 1, ": warn: "},
		{map[string]string{"paths": "nowhere"}, 3, "no such file"},
	} {
		_, job := gitlab(t, tt.with)
		dir := writeFiles(t)
		env := []string{"CI_PROJECT_DIR=" + dir}
		for name, value := range job.Variables {
			env = append(env, name+"="+value)
		}
		for _, shell := range []string{"sh", "bash"} {
			out, code := shellRun(t, dir, []string{shell, "-e"}, env, strings.Join(job.Script, "\n"))
			if code != tt.code || !strings.Contains(out, tt.output) {
				t.Errorf("%v: exit code %d, want %d:\n%s", tt.with, code, tt.code, out)
			}
			for _, report := range []string{job.Artifacts.Reports.Codequality, job.Artifacts.Reports.Junit} {
				if err := os.Remove(filepath.Join(dir, report)); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// A hook is one of .pre-commit-hooks.yaml, by pre-commit.com/#creating-new-hooks.
type hook struct {
	ID, Name, Description, Entry, Language string
	Files, Exclude                         string
	Types                                  []string `yaml:"types"`
	TypesOr                                []string `yaml:"types_or"`
	ExcludeTypes                           []string `yaml:"exclude_types"`
	Args                                   []string
	RequireSerial                          bool   `yaml:"require_serial"`
	PassFilenames                          *bool  `yaml:"pass_filenames"`
	MinimumPreCommitVersion                string `yaml:"minimum_pre_commit_version"`
}

func hooks(t *testing.T) map[string]hook {
	t.Helper()
	var list []hook
	strict(t, readRoot(t, ".pre-commit-hooks.yaml"), &list)
	byID := map[string]hook{}
	for _, h := range list {
		if h.ID == "" || h.Name == "" || h.Entry == "" || h.Language != "golang" || byID[h.ID].ID != "" {
			t.Errorf("%+v", h)
		}
		byID[h.ID] = h
	}
	return byID
}

// TestPreCommit runs the entries on files. pre-commit itself reads the list where it is on PATH.
func TestPreCommit(t *testing.T) {
	list := hooks(t)
	dir := writeFiles(t)
	file := "'deploy/a b/service.yaml'"
	sh := []string{"sh", "-e"}
	if out, code := shellRun(t, dir, sh, nil, list["sixgate-audit"].Entry+" clean.yaml "+file); code != 1 {
		t.Errorf("exit code %d: %s", code, out)
	}
	if out, code := shellRun(t, dir, sh, nil, list["sixgate-fix"].Entry+" clean.yaml "+file); code != 0 {
		t.Errorf("exit code %d: %s", code, out)
	}
	if out, code := shellRun(t, dir, sh, nil, list["sixgate-audit"].Entry+" clean.yaml "+file); code != 0 {
		t.Errorf("exit code %d: %s", code, out)
	}
	if program, err := exec.LookPath("pre-commit"); err == nil {
		cmd := exec.CommandContext(t.Context(), program, "validate-manifest", "../../.pre-commit-hooks.yaml")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// TestKrew fills in the template as krew-release-bot does, and reads the manifest as krew does (kubernetes-sigs/krew,
// pkg/index/types.go and internal/index/validation).
func TestKrew(t *testing.T) {
	const tag = "v1.2.3"
	sum := strings.Repeat("0123456789abcdef", 4)
	fill := template.New("krew")
	fill.Funcs(template.FuncMap{"addURIAndSha": func(url, tag string) (string, error) {
		var b strings.Builder
		u, err := template.New("url").Parse(url)
		if err == nil {
			err = u.Execute(&b, map[string]string{"TagName": tag})
		}
		return "uri: " + b.String() + "\n    sha256: " + sum, err
	}})
	if _, err := fill.Parse(string(readRoot(t, ".krew.yaml"))); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := fill.Execute(&text, map[string]string{"TagName": tag}); err != nil {
		t.Fatal(err)
	}
	var p struct {
		APIVersion string
		Kind       string
		Metadata   struct{ Name string }
		Spec       struct {
			Version, ShortDescription, Description, Caveats, Homepage string
			Platforms                                                 []struct {
				URI, SHA256, Bin string
				Selector         metav1.LabelSelector
				Files            []struct{ From, To string }
			}
		}
	}
	if err := sigsyaml.UnmarshalStrict(text.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if p.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || p.Kind != "Plugin" || p.Metadata.Name != "sixgate" || p.Spec.Version != tag ||
		p.Spec.ShortDescription == "" || len(p.Spec.ShortDescription) > 50 || strings.Contains(p.Spec.ShortDescription, "\n") || len(p.Spec.Platforms) == 0 {
		t.Errorf("%+v", p)
	}
	for _, pl := range p.Spec.Platforms {
		system, arch := pl.Selector.MatchLabels["os"], pl.Selector.MatchLabels["arch"]
		want := "https://github.com/sixgate/sixgate/releases/download/v1.2.3/sixgate_" + system + "_" + arch + ".tar.gz"
		if len(pl.Selector.MatchLabels) != 2 || pl.URI != want || pl.SHA256 != sum || strings.TrimSuffix(pl.Bin, ".exe") != "sixgate" ||
			(system == "windows") != strings.HasSuffix(pl.Bin, ".exe") {
			t.Errorf("%+v", pl)
		}
	}
}

// TestHelmPlugin: the fields of a post-renderer of Helm 4 (helm.sh/docs/plugins); e2e/integrations installs it.
func TestHelmPlugin(t *testing.T) {
	var p struct {
		APIVersion    string `yaml:"apiVersion"`
		Type, Name    string
		Version       string
		SourceURL     string `yaml:"sourceURL"`
		Runtime       string
		RuntimeConfig struct {
			PlatformCommand []struct {
				OS, Arch, Command string
				Args              []string
			} `yaml:"platformCommand"`
		} `yaml:"runtimeConfig"`
	}
	strict(t, readRoot(t, "integrations/helm/plugin.yaml"), &p)
	if p.APIVersion != "v1" || p.Type != "postrenderer/v1" || p.Name != "sixgate" || p.Runtime != "subprocess" || len(p.RuntimeConfig.PlatformCommand) != 1 {
		t.Fatalf("%+v", p)
	}
	c := p.RuntimeConfig.PlatformCommand[0]
	var out, errs bytes.Buffer
	if code := run(t.Context(), append([]string{c.Command}, c.Args...), strings.NewReader(brokenService), &out, &errs); code != 0 ||
		out.String() != strings.Replace(brokenService, "IPv4", "IPv6", 1) {
		t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
	}
}

// TestCIPage holds the blocks of docs/ci.md to what they name.
func TestCIPage(t *testing.T) {
	var a action
	strict(t, readRoot(t, "action.yml"), &a)
	inputs, _ := gitlab(t, nil)
	list := hooks(t)
	known := map[string]bool{}
	root := newRoot("sixgate", time.Now)
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		known[c.Name()] = true
	}
	seen := map[string]int{}
	page := string(readRoot(t, "docs/ci.md"))
	for _, m := range regexp.MustCompile("(?s)```(yaml|sh)\n(.*?)```").FindAllStringSubmatch(page, -1) {
		language, text := m[1], m[2]
		if language == "sh" {
			for _, call := range regexp.MustCompile(`\bsixgate ([a-z]+)\b`).FindAllStringSubmatch(text, -1) {
				if !known[call[1]] {
					t.Errorf("no command %q:\n%s", call[1], text)
				}
				seen["command"]++
			}
			if out, code := shellRun(t, t.TempDir(), []string{"bash", "-n"}, nil, strings.ReplaceAll(text, "<TAB>", "")); code != 0 {
				t.Errorf("%s:\n%s", out, text)
			}
			continue
		}
		type step struct {
			Uses, Run string
			With      map[string]string
		}
		var y struct {
			Steps   []step
			Jobs    map[string]struct{ Steps []step }
			Include []struct{ Inputs map[string]string }
			Repos   []struct{ Hooks []struct{ ID string } }
			Kind    string
		}
		if err := yaml.Unmarshal([]byte(text), &y); err != nil {
			t.Errorf("%v:\n%s", err, text)
		}
		steps := y.Steps
		for _, job := range y.Jobs {
			steps = append(steps, job.Steps...)
		}
		for _, s := range steps {
			if !strings.HasPrefix(s.Uses, "sixgate/") {
				continue
			}
			for name := range s.With {
				seen["action"]++
				if _, ok := a.Inputs[name]; !ok {
					t.Errorf("the action has no input %q", name)
				}
			}
		}
		for _, in := range y.Include {
			for name := range in.Inputs {
				seen["gitlab"]++
				if _, ok := inputs[name]; !ok {
					t.Errorf("the template has no input %q", name)
				}
			}
		}
		for _, repo := range y.Repos {
			for _, h := range repo.Hooks {
				seen["hook"]++
				if list[h.ID].ID == "" {
					t.Errorf("no hook %q", h.ID)
				}
			}
		}
		if y.Kind == "Policy" {
			seen["policy"]++
			var doc yaml.Node
			if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
				t.Fatal(err)
			}
			if _, err := functionConfig(doc.Content[0]); err != nil {
				t.Error(err)
			}
		}
	}
	for _, what := range []string{"command", "action", "gitlab", "hook", "policy"} {
		if seen[what] == 0 {
			t.Errorf("no block with a %s", what)
		}
	}
	for name := range a.Inputs {
		if !strings.Contains(page, "| `"+name+"` |") {
			t.Errorf("input %s of the action is not on the page", name)
		}
	}
}
