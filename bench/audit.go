package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// A corpus is a folder of manifests.
type corpus struct {
	dir     string
	joined  string // all of it in one file, for programs that take a list of files; join writes it
	files   int
	objects int
	bytes   int64
}

func (c corpus) megabytes() float64 { return float64(c.bytes) / 1e6 }

// faults are the rules and the objects in which a program found them, as "<rule> <kind>/<name>", each once for a document; how often
// an object of that name is found counts.
type faults map[string]int

func (f faults) total() int {
	n := 0
	for _, count := range f {
		n += count
	}
	return n
}

// firstCopy returns those of the first copy of the manifests.
func (f faults) firstCopy() faults {
	out, first := faults{}, regexp.MustCompile(`-0-\d+-\d+$`)
	for name, n := range f {
		if first.MatchString(name) {
			out[name] = n
		}
	}
	return out
}

// asked are the rules that all programs can express.
func asked() []string { return []string{"service-ip-family", "service-ipv4-address", "host-port-ipv4"} }

// A checker is a program that checks manifests.
type checker struct {
	name    string
	version string
	does    string // what it was asked
	slow    bool   // it gets one copy of the manifests
	command func(c corpus) (program string, args []string, stdin string)
	faults  func(r run) (faults, error) // nil: it cannot be asked for these rules
}

// checkers are Sixgate and its peers. policies is bench/policies.
func checkers(sixgate, policies string, p cluster.Peers) []checker {
	return []checker{
		{
			name: "sixgate", version: "this checkout", does: "all rules, with file, line and column of each finding",
			command: func(c corpus) (string, []string, string) {
				return sixgate, []string{"audit", "--no-render", "--no-ignore", "--fail-on=none", "-o", "json", c.dir}, ""
			},
			faults: sixgateFaults,
		},
		{
			name: "gator", version: p.Gator.Version, does: "3 rules in CEL (policies/gator)",
			command: func(c corpus) (string, []string, string) {
				return p.Gator.Path, []string{"test", "-f", filepath.Join(policies, "gator"), "-f", c.dir, "-o", "json"}, ""
			},
			faults: gatorFaults,
		},
		{
			name: "conftest", version: p.Conftest.Version, does: "3 rules in Rego (policies/conftest)",
			command: func(c corpus) (string, []string, string) {
				return p.Conftest.Path, []string{"test", "--policy", filepath.Join(policies, "conftest"), "-o", "json", c.dir}, ""
			},
			faults: conftestFaults,
		},
		{
			name: "kyverno", version: p.KyvernoCLI.Version, slow: true, does: "3 rules as ClusterPolicies (policies/kyverno)",
			command: func(c corpus) (string, []string, string) {
				return p.KyvernoCLI.Path, []string{"apply", filepath.Join(policies, "kyverno"), "-r", c.dir, "--policy-report", "--output-format", "json", "--remove-color"}, ""
			},
			faults: kyvernoFaults,
		},
		{
			name: "kube-score", version: p.KubeScore.Version, does: "its own checks; it takes no policies",
			command: func(c corpus) (string, []string, string) {
				return p.KubeScore.Path, []string{"score", "-o", "json", "-"}, c.joined
			},
		},
	}
}

func sixgateFaults(r run) (faults, error) {
	var report struct {
		Findings []struct {
			File, Kind, Name, Rule string
			Document, Item         int
		}
	}
	if err := json.Unmarshal(r.stdout, &report); err != nil {
		return nil, fmt.Errorf("read report: %w: %s", err, firstLine(r.stderr))
	}
	out, seen := faults{}, map[string]bool{}
	for _, f := range report.Findings {
		place := fmt.Sprint(f.File, f.Document, f.Item, f.Rule)
		if slices.Contains(asked(), f.Rule) && !seen[place] {
			seen[place] = true
			out[f.Rule+" "+f.Kind+"/"+f.Name]++
		}
	}
	return out, nil
}

func gatorFaults(r run) (faults, error) {
	var results []struct {
		Constraint struct{ Metadata struct{ Name string } }
		Violating  struct {
			Kind     string
			Metadata struct{ Name string }
		} `json:"violatingObject"`
	}
	if err := json.Unmarshal(r.stdout, &results); err != nil {
		return nil, fmt.Errorf("read report: %w: %s", err, firstLine(r.stderr))
	}
	out := faults{}
	for _, v := range results {
		out[v.Constraint.Metadata.Name+" "+v.Violating.Kind+"/"+v.Violating.Metadata.Name]++
	}
	return out, nil
}

func conftestFaults(r run) (faults, error) {
	var results []struct {
		Failures []struct {
			Metadata struct{ Rule, Object string }
		}
	}
	if err := json.Unmarshal(r.stdout, &results); err != nil {
		return nil, fmt.Errorf("read report: %w: %s", err, firstLine(r.stderr))
	}
	out := faults{}
	for _, file := range results {
		for _, f := range file.Failures {
			out[f.Metadata.Rule+" "+f.Metadata.Object]++
		}
	}
	return out, nil
}

func kyvernoFaults(r run) (faults, error) {
	out := faults{}
	for line := range strings.Lines(string(r.stdout)) { // a report for each namespace
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var report struct {
			Results []struct {
				Policy, Result string
				Resources      []struct{ Kind, Name string }
			}
		}
		if err := json.Unmarshal([]byte(line), &report); err != nil {
			return nil, fmt.Errorf("read report: %w", err)
		}
		for _, result := range report.Results {
			for _, o := range result.Resources {
				if result.Result == "fail" {
					out[result.Policy+" "+o.Kind+"/"+o.Name]++
				}
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("read report: no faults in %q: %s", firstLine(string(r.stdout)), firstLine(r.stderr))
	}
	return out, nil
}

// readable returns how many objects a manifest holds if every program can be given it: each document is an object with a name, in the
// form that its kind has where that is built in, and no list. Programs differ in what they do with anything else, up to giving up.
func readable(manifest []byte) (objects int, ok bool) {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifest)))
	for {
		document, err := documents.Read()
		if err == io.EOF {
			return objects, objects > 0
		}
		if err != nil {
			return 0, false
		}
		var o struct {
			APIVersion, Kind string
			Metadata         struct{ Name string }
		}
		if yaml.Unmarshal(document, &o) != nil || o.APIVersion == "" || o.Metadata.Name == "" || o.Kind == "" || strings.HasSuffix(o.Kind, "List") {
			return 0, false
		}
		if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil); err != nil && !runtime.IsNotRegisteredError(err) {
			return 0, false
		}
		objects++
	}
}

// collect puts the manifests of some folders into dir, those that every program can read.
func collect(dir string, folders []string) (corpus, error) {
	c := corpus{dir: dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return c, err
	}
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			objects, ok := readable(text)
			if !ok {
				return nil
			}
			if at, err := nameEnds(text); err != nil || len(at) != objects {
				return nil // a form in which a name cannot be changed by adding to it
			}
			c.files++
			c.objects += objects
			c.bytes += int64(len(text))
			return os.WriteFile(filepath.Join(dir, fmt.Sprintf("%05d.yaml", c.files)), text, 0o644)
		})
		if err != nil {
			return c, fmt.Errorf("collect manifests: %w", err)
		}
	}
	if c.files == 0 {
		return c, errors.New("collect manifests: none that every program can read")
	}
	return c, nil
}

// nameEnds returns the offset behind the name of each object of a manifest.
func nameEnds(manifest []byte) ([]int, error) {
	lines := bytes.SplitAfter(manifest, []byte("\n"))
	var out []int
	for documents := yamlv3.NewDecoder(bytes.NewReader(manifest)); ; {
		var document struct {
			Metadata struct{ Name yamlv3.Node }
		}
		if err := documents.Decode(&document); err == io.EOF {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		name := document.Metadata.Name
		if name.Line == 0 {
			continue // an empty document
		}
		offset := 0
		for _, line := range lines[:name.Line-1] {
			offset += len(line)
		}
		offset += name.Column - 1
		if name.Style&(yamlv3.DoubleQuotedStyle|yamlv3.SingleQuotedStyle) != 0 {
			offset++
		}
		if !bytes.HasPrefix(manifest[min(offset, len(manifest)):], []byte(name.Value)) {
			return nil, fmt.Errorf("line %d: no name %q", name.Line, name.Value)
		}
		out = append(out, offset+len(name.Value))
	}
}

// repeat makes dir a corpus of at least that many bytes out of copies of c, in one folder: Kyverno reads none below it. The objects of
// each copy have names of their own: Kyverno gives up on two objects of one name.
func (c corpus) repeat(dir string, size int64) (corpus, error) {
	out := corpus{dir: filepath.Join(dir, "files"), joined: filepath.Join(dir, "joined.yaml")}
	if err := os.MkdirAll(out.dir, 0o755); err != nil {
		return out, err
	}
	names, err := os.ReadDir(c.dir)
	if err != nil {
		return out, err
	}
	texts, ends := make([][]byte, len(names)), make([][]int, len(names))
	for i, n := range names {
		if texts[i], err = os.ReadFile(filepath.Join(c.dir, n.Name())); err != nil {
			return out, err
		}
		if ends[i], err = nameEnds(texts[i]); err != nil {
			return out, err
		}
	}
	for i := 0; out.bytes < size || i == 0; i++ {
		for j, n := range names {
			var text []byte
			from := 0
			for k, end := range ends[j] {
				text = fmt.Appendf(append(text, texts[j][from:end]...), "-%d-%d-%d", i, j, k)
				from = end
			}
			text = append(text, texts[j][from:]...)
			if err := os.WriteFile(filepath.Join(out.dir, fmt.Sprintf("%04d-%s", i, n.Name())), text, 0o644); err != nil {
				return out, err
			}
			out.bytes += int64(len(text))
		}
		out.files, out.objects = out.files+c.files, out.objects+c.objects
	}
	return out, nil
}

// join writes all files into one.
func (c corpus) join() error {
	joined, err := os.Create(c.joined)
	if err != nil {
		return err
	}
	defer joined.Close()
	names, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		text, err := os.ReadFile(filepath.Join(c.dir, n.Name()))
		if err == nil {
			_, err = joined.Write(append(text, "\n---\n"...))
		}
		if err != nil {
			return err
		}
	}
	return joined.Close()
}

// An auditor measures checkers of files.
type auditor struct {
	checkers []checker
	rounds   int           // at most
	limit    time.Duration // for the rounds; three are done whatever they take
	same     int64         // bytes that every program reads
	alone    []int64       // bytes that Sixgate reads alone
	folders  []string
	dir      string
	log      io.Writer
}

func (a auditor) measure(ctx context.Context, f *figures, w io.Writer) error {
	once, err := collect(filepath.Join(a.dir, "once"), a.folders)
	if err != nil {
		return err
	}
	same, err := once.repeat(filepath.Join(a.dir, "same"), a.same)
	if err == nil {
		err = same.join()
	}
	if err != nil {
		return err
	}
	one, err := once.repeat(filepath.Join(a.dir, "one"), 1)
	if err != nil {
		return err
	}
	input := func(k checker) corpus {
		if k.slow {
			return one
		}
		return same
	}
	rate, peak, cpu := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	found := map[string]faults{}
	begin, rounds := time.Now(), 0
	for round := range a.rounds + 1 {
		if round > 3 && time.Since(begin) > a.limit {
			break
		}
		rounds = round
		for _, k := range a.checkers {
			c := input(k)
			program, args, stdin := k.command(c)
			r, err := execute(ctx, stdin, program, args...)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.log, "audit round %d: %s %.2f s, %.2f s of processors, %.0f MB, exit code %d\n", round, k.name, r.seconds, r.cpu, r.peak, r.code)
			if round == 0 {
				if k.faults != nil {
					if found[k.name], err = k.faults(r); err != nil {
						return fmt.Errorf("%s: %w", k.name, err)
					}
				}
				continue
			}
			rate[k.name] = append(rate[k.name], c.megabytes()/r.seconds)
			cpu[k.name] = append(cpu[k.name], r.cpu/c.megabytes()*1000)
			peak[k.name] = append(peak[k.name], r.peak)
		}
	}
	fmt.Fprintf(w, "## Audit of files\n\n%d manifests with %d objects, %.1f MB, that every program can read, repeated to %d files with %d objects, %.1f MB.\n"+
		"Each program is one process from start to end, in turn, %d rounds after one that is not counted.\nmedian (least–greatest).\n\n",
		once.files, once.objects, once.megabytes(), same.files, same.objects, same.megabytes(), rounds)
	first := a.checkers[0].name
	t := table{{"program", "asked", "input MB", "MB/s", "objects/s", "ms of processor for 1 MB", "peak MB resident", first + " is faster by", "and uses less processor by", "faults of the 3 rules"}}
	for _, k := range a.checkers {
		faults := "cannot be asked"
		if k.faults != nil {
			faults = fmt.Sprint(found[k.name].total())
			want := found[first]
			if k.slow {
				want = found[first].firstCopy()
			}
			faults += fmt.Sprintf(" of %d", want.total())
			if d := difference(want, found[k.name]); d != "" {
				faults += "; " + d
			}
		}
		if k.name != first && k.faults != nil {
			by := ratios(rate[first], rate[k.name])
			f.target("audit at least 10 times as fast as peers that find the same", k.name, by, "×", median(by) >= 10)
		}
		t.row(k.name+" "+k.version, k.does, number(input(k).megabytes()), spread(rate[k.name], ""), number(median(rate[k.name])/same.megabytes()*float64(same.objects)),
			spread(cpu[k.name], ""), spread(peak[k.name], ""), spread(ratios(rate[first], rate[k.name]), "×"), spread(ratios(cpu[k.name], cpu[first]), "×"), faults)
	}
	fmt.Fprintln(w, t)

	return nil
}

// sizes measures Sixgate alone, by how much it reads.
func (a auditor) sizes(ctx context.Context, f *figures, w io.Writer) error {
	once, err := collect(filepath.Join(a.dir, "once-more"), a.folders)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "### Audit of files, by size\n\n%d manifests with %d objects, repeated; one file for each.\n\n", once.files, once.objects)
	t := table{{"input of sixgate audit", "files", "objects", "MB/s", "objects/s", "processors busy", "peak MB resident"}}
	var least []float64
	begin := time.Now()
	for _, size := range a.alone {
		making := time.Now()
		c, err := once.repeat(filepath.Join(a.dir, fmt.Sprint("large", size)), size)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.log, "audit of %.0f MB: %d files written, %.0f s\n", c.megabytes(), c.files, time.Since(making).Seconds())
		var rate, busy, peak []float64
		var last time.Duration
		for round := range 3 {
			if round > 0 && time.Since(begin)+last > a.limit {
				break
			}
			program, args, _ := a.checkers[0].command(c)
			r, err := execute(ctx, "", program, args...)
			if err != nil {
				return err
			}
			last = time.Duration(r.seconds * float64(time.Second))
			fmt.Fprintf(a.log, "audit of %.0f MB, round %d: %.2f s, %.0f MB\n", c.megabytes(), round, r.seconds, r.peak)
			rate, busy, peak = append(rate, c.megabytes()/r.seconds), append(busy, r.cpu/r.seconds), append(peak, r.peak)
		}
		least = append(least, median(peak))
		f.filesPerSecond = median(rate) / c.megabytes() * float64(c.objects)
		t.row(fmt.Sprintf("%.1f MB", c.megabytes()), fmt.Sprint(c.files), fmt.Sprint(c.objects), spread(rate, ""), number(f.filesPerSecond), spread(busy, ""), spread(peak, ""))
		if size == a.alone[len(a.alone)-1] {
			f.target("an audit uses all cores", fmt.Sprintf("of %d, %s MB", goruntime.NumCPU(), number(c.megabytes())), busy, "", median(busy) >= 0.8*float64(goruntime.NumCPU()))
		}
		if err := os.RemoveAll(filepath.Dir(c.dir)); err != nil {
			return err
		}
	}
	fmt.Fprintln(w, t)
	if flat := slices.Max(least) / slices.Min(least); len(least) > 1 {
		f.target("memory of an audit does not grow with its input", fmt.Sprintf("most over least, %d to %d MB", a.alone[0]/1e6, a.alone[len(a.alone)-1]/1e6), []float64{flat}, "×", flat < 1.25)
	}
	return nil
}

// difference says what two programs found otherwise; nothing: the same.
func difference(want, got faults) string {
	var missed, more []string
	for k, n := range want {
		if got[k] < n {
			missed = append(missed, k)
		}
	}
	for k, n := range got {
		if want[k] < n {
			more = append(more, k)
		}
	}
	var out []string
	for _, d := range []struct {
		name string
		list []string
	}{{"not found", missed}, {"found beside", more}} {
		if slices.Sort(d.list); len(d.list) > 0 {
			out = append(out, fmt.Sprintf("%s: %s", d.name, strings.Join(d.list, ", ")))
		}
	}
	return strings.Join(out, "; ")
}
