package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/sixgate/sixgate/pkg/manifest"
	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

type fixOptions struct {
	policy, namespace       string
	failOn                  choice
	diff, dryRun, additions bool
	levels                  ruleLevels
	now                     func() time.Time
	input                   inputOptions
}

// newFixFailOn is for levels of what is left: what would only be changed is repaired.
func newFixFailOn() choice { return choice{"deny", []string{"deny", "warn", "none"}} }

// newFix returns the command; program is the name that its examples use.
func newFix(program string, now func() time.Time) *cobra.Command {
	o := fixOptions{failOn: newFixFailOn(), now: now, input: inputOptions{noRender: true, repairs: true}}
	cmd := &cobra.Command{
		Use:   "fix FILE|DIR|-...",
		Short: "Repair manifests for an IPv6-only cluster, in place",
		Long: `Repair what has one right answer, in the files: Services, Pods and their templates, configuration texts in ConfigMaps. Only
the lines that a repair needs are changed; comments, order, quotes and indentation stay. A file without anything to repair
is not written. Folders are read with all *.yaml, *.yml and *.json below them that .gitignore does not name; templates of charts are
left alone. "-" is standard input, repaired to standard output.

What the webhook only adds when an object is created (the API server's address, address pools, headless Services) depends on
the cluster, and is left to the webhook unless --additions is given.

A repair that cannot be written into the text, as where a value comes from an alias, is printed as a JSON patch with the reason.

Exit codes: 0 no finding at or above --fail-on is left, 1 there is one, 3 could not run, or could not read or write everything.`,
		Example: "  " + program + " fix --diff deploy/\n" +
			"  " + program + " fix deploy/ service.yaml\n" +
			"  helm template shop | " + program + " fix - | kubectl apply -f -",
		Args:              atLeastOne(`a file, a folder, or "-" for standard input`),
		ValidArgsFunction: completeFiles("yaml", "yml", "json"),
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.policy, "policy", "", "policy `FILE`; none: the default policy, for a cluster with IPv6 only")
	flags.StringVarP(&o.namespace, "namespace", "n", "default", "`NAMESPACE` of objects that name none")
	flags.Var(&o.levels, "level", levelUsage)
	flags.BoolVar(&o.diff, "diff", false, "print a unified diff and write nothing")
	flags.BoolVar(&o.dryRun, "dry-run", false, "list what would be repaired and write nothing")
	flags.BoolVar(&o.additions, "additions", false, "also write what the webhook adds when an object is created")
	o.input.flags(flags)
	flags.Var(&o.failOn, "fail-on", "lowest level of findings left that gives exit code 1")
	cmd.MarkFlagsMutuallyExclusive("diff", "dry-run")
	return cmd
}

// A repair is what is done to one object.
type repair struct {
	doc    *manifest.Document
	object *rules.Object   // repaired
	done   []rules.Finding // that were repaired
	left   []rules.Finding // that are not
	was    []rules.Finding // as the object is written
}

// A fixedFile is one file of the input.
type fixedFile struct {
	name          string
	repairs       []*repair
	before, after []byte
	failed        []error // why an object of it could not be spliced
	patches       [][]byte
}

func (o *fixOptions) run(cmd *cobra.Command, args []string) error {
	policy, err := policyOf(o.policy, o.levels)
	if err != nil {
		return err
	}
	var stdin bytes.Buffer
	in, err := o.input.list(cmd.Context(), args, o.namespace, io.TeeReader(cmd.InOrStdin(), &stdin))
	if err != nil {
		return err
	}
	defer in.close()
	in.progress = in.progressOf(cmd.ErrOrStderr())
	err = in.load(cmd.Context())
	in.progress.finish()
	if err != nil {
		return err
	}
	stderr := cmd.ErrOrStderr()
	code := 0
	for _, e := range in.errs {
		fmt.Fprintln(stderr, e.String())
		if !e.Audited {
			code = exitError
		}
	}
	warnInactive(stderr, policy)
	files := o.fix(in, rules.NewSetAt(policy, o.now))

	// What is meant for people goes to standard error where standard output is a diff or the repaired stream.
	write := !o.diff && !o.dryRun
	stream := write && slices.Contains(args, "-")
	people := cmd.OutOrStdout()
	if o.diff || stream {
		people = stderr
	}
	for _, f := range files {
		for i, err := range f.failed {
			fmt.Fprintln(stderr, report.Printable("sixgate: splice "+err.Error()))
			fmt.Fprintf(stderr, "%s\n", f.patches[i])
		}
		if bytes.Equal(f.before, f.after) {
			continue
		}
		switch {
		case o.diff:
			err = f.writeDiff(cmd.OutOrStdout())
		case write && f.name != stdinName:
			if cmd.Context().Err() != nil {
				return errors.New("interrupted")
			}
			if err := writeFile(f.name, f.before, f.after); err != nil {
				fmt.Fprintln(stderr, report.Printable(fmt.Sprintf("sixgate: write %s: %v", f.name, cause(err))))
				f.unwritten()
				code = exitError
			}
		}
		if err != nil {
			return fmt.Errorf("write diff: %w", err)
		}
	}
	if stream && !slices.ContainsFunc(in.errs, func(e report.Error) bool { return e.File == stdinName && e.Line == 0 }) { // else it is not complete
		if err := writeStream(cmd, files, &stdin); err != nil {
			return err
		}
	}
	failed, err := o.summarize(people, files, policy.Cluster.IPv6Only())
	if err != nil {
		return writeError(err)
	}
	if code == 0 && failed {
		code = exitFindings
	}
	if code != 0 {
		return exitCode(code)
	}
	return nil
}

// fix repairs all objects of an input and splices the repairs into the bytes of their files.
func (o *fixOptions) fix(in *input, set *rules.Set) []*fixedFile {
	var objects []*rules.Object
	for _, doc := range in.docs {
		objects = append(objects, doc.Object)
	}
	index := rules.NewIndex(objects, o.namespace)
	var files []*fixedFile
	for _, doc := range in.docs {
		if len(files) == 0 || files[len(files)-1].name != doc.File {
			text := doc.Text()
			files = append(files, &fixedFile{name: doc.File, before: text, after: text})
		}
		f := files[len(files)-1]
		f.repairs = append(f.repairs, o.repair(set, doc, index))
	}
	for _, f := range files {
		var changes []manifest.Change
		var changed []*repair
		for _, r := range f.repairs {
			if patch := r.object.Patch(); len(patch) > 0 {
				changes = append(changes, manifest.Change{Document: r.doc, Patch: patch})
				changed = append(changed, r)
			}
		}
		if len(changes) == 0 {
			continue
		}
		data, errs := manifest.Splice(changes)
		for i, err := range errs {
			if err != nil {
				f.failed, f.patches = append(f.failed, err), append(f.patches, shown(changes[i]))
				changed[i].unwritten()
			}
		}
		f.after = data
	}
	return files
}

// shown is the patch for people to apply by hand.
func shown(c manifest.Change) []byte {
	if c.Document.Object.Kind() == "Secret" {
		return []byte("the patch is not shown: it has the text of a Secret")
	}
	patch, err := json.Marshal(c.Patch)
	if err != nil { // its values come from JSON
		return []byte(err.Error())
	}
	return patch
}

// maxRounds bounds how often the rules look again at what they have repaired.
const maxRounds = 5

// repair applies every fix to a copy of an object until none is left.
func (o *fixOptions) repair(set *rules.Set, doc *manifest.Document, index *rules.Index) *repair {
	r := &repair{doc: doc, object: doc.Object.Copy()}
	r.was = o.left(set, doc.Object, index)
	req := o.request(set, r.object, index)
	for range maxRounds {
		before := len(r.object.Patch())
		active, _ := set.Rules(req)
		for _, rule := range active {
			now := len(r.object.Patch())
			var applied []rules.Finding
			for _, f := range rule.Findings(req) {
				if f.Fix != nil && (f.Level >= rules.Warn || o.additions) {
					f.Fix(r.object)
					applied = append(applied, f)
				}
			}
			if len(r.object.Patch()) > now {
				r.done = append(r.done, applied...)
			}
		}
		if len(r.object.Patch()) == before {
			break
		}
	}
	r.left = o.left(set, r.object, index)
	return r
}

// request is the creation of an object, as the audit judges it.
func (o *fixOptions) request(set *rules.Set, object *rules.Object, index *rules.Index) *rules.Request {
	req := set.Creation(object, o.namespace)
	req.Audit, req.Index = true, index
	return &req
}

// left returns the faults of an object.
func (o *fixOptions) left(set *rules.Set, object *rules.Object, index *rules.Index) []rules.Finding {
	req := o.request(set, object, index)
	active, _ := set.Rules(req)
	var out []rules.Finding
	for _, rule := range active {
		for _, f := range rule.Findings(req) {
			if f.Level >= rules.Warn {
				out = append(out, f)
			}
		}
	}
	return out
}

// summarize lists what was repaired and what is left, and reports whether something at --fail-on or above is.
func (o *fixOptions) summarize(w io.Writer, files []*fixedFile, active bool) (failed bool, err error) {
	failOn, _ := rules.ParseLevel(o.failOn.value) // none is rules.None
	var b strings.Builder
	repaired, changed, left := 0, 0, 0
	verb := "repaired"
	if o.diff || o.dryRun {
		verb = "would repair"
	}
	for _, f := range files {
		if !bytes.Equal(f.before, f.after) {
			changed++
		}
		for _, r := range f.repairs {
			for _, done := range r.done {
				repaired++
				line, column := r.doc.TextPosition(done.Path, done.Text)
				b.WriteString(report.Printable(fmt.Sprintf("%s:%d:%d: %s: %s", f.name, line, column, verb, done.ChangedString())) + "\n")
			}
		}
	}
	for _, f := range files {
		for _, r := range f.repairs {
			for _, l := range r.left {
				left++
				failed = failed || failOn != rules.None && l.Level >= failOn
				who := strings.TrimSuffix(r.doc.Object.Kind()+" "+r.doc.Object.Name(), " ")
				b.WriteString(report.Printable(fmt.Sprintf("%s: %s: %s: %s", f.name, l.Level, who, l.String())) + "\n")
			}
		}
	}
	if repaired > 0 {
		if o.diff || o.dryRun {
			verb = "would be repaired"
		}
		fmt.Fprintf(&b, "%s %s in %s", plural(repaired, "finding"), verb, plural(changed, "file"))
	} else if left > 0 {
		b.WriteString("nothing repaired")
	} else if active {
		b.WriteString("nothing to repair")
	}
	switch {
	case left == 1:
		b.WriteString("; 1 finding needs a person; run sixgate audit")
	case left > 1:
		fmt.Fprintf(&b, "; %d findings need a person; run sixgate audit", left)
	}
	if b.Len() > 0 {
		b.WriteString("\n")
	}
	_, err = io.WriteString(w, b.String())
	return failed, err
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// unwritten takes the repairs of a file back: it stays as it was.
func (f *fixedFile) unwritten() {
	for _, r := range f.repairs {
		r.unwritten()
	}
	f.after = f.before
}

func (r *repair) unwritten() { r.done, r.left = nil, r.was }

// writeDiff writes a unified diff that patch -p1 and git apply take.
func (f *fixedFile) writeDiff(w io.Writer) error {
	name := strings.TrimLeft(filepath.ToSlash(filepath.Clean(f.name)), "/")
	d := diff.Diff("a/"+name, f.before, "b/"+name, f.after)
	_, rest, _ := bytes.Cut(d, []byte("\n")) // the first line is for people
	_, err := w.Write(rest)
	return err
}

// writeStream writes standard input as it is repaired, or as it was.
func writeStream(cmd *cobra.Command, files []*fixedFile, stdin *bytes.Buffer) error {
	data := stdin.Bytes()
	for _, f := range files {
		if f.name == stdinName {
			data = f.after
		}
	}
	if _, err := cmd.OutOrStdout().Write(data); err != nil {
		return fmt.Errorf("write stream: %w", err)
	}
	return nil
}

// writeFile replaces a file as a whole, or not at all, and keeps its permissions. It looks through symbolic links, and
// refuses a file that is read-only or that somebody has changed since it was read.
func writeFile(name string, before, after []byte) error {
	path, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	switch {
	case !info.Mode().IsRegular():
		return errors.New("not a regular file; use - for standard input and output")
	case info.Mode().Perm()&0o200 == 0: // a rename would not mind, and neither does root
		return errors.New("the file is read-only")
	}
	probe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	now, err := io.ReadAll(probe)
	if err = errors.Join(err, probe.Close()); err != nil {
		return err
	}
	if !bytes.Equal(now, before) {
		return errors.New("changed by somebody else in the meantime; run sixgate fix again")
	}
	return replaceFile(path, after, info.Mode().Perm())
}

func replaceFile(path string, data []byte, perm os.FileMode) error {
	return replaceWith(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// replaceWith replaces a file as a whole by what write writes, or not at all.
func replaceWith(path string, perm os.FileMode, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".sixgate-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	b := bufio.NewWriter(f)
	err = errors.Join(write(b), b.Flush(), f.Chmod(perm))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
