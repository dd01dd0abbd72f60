package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sixgate/sixgate/pkg/report"
)

type probeOptions struct {
	kubeconfig, context, namespace, selector string
	allNamespaces, assumeIPv6, listeners     bool
	ephemeral                                string
	proc                                     string
	pids                                     []int
	concurrency                              int
	timeout                                  time.Duration
	output, failOn                           choice
}

// newProbe returns the command; program is the name that its examples use.
func newProbe(program string) *cobra.Command {
	o := probeOptions{
		output: choice{"text", []string{"text", "json"}},
		failOn: choice{probeFault, []string{probeFault, probeWarn, "none"}},
	}
	cmd := &cobra.Command{
		Use:   "probe [POD...]",
		Short: "Report what running pods listen on, against what dials them",
		Long: `Report the ports of running pods that nothing reaches over IPv6: that listen on IPv4 only, on loopback only, or not at all, although
a Service or a probe dials them. It reads the socket tables of the kernel (/proc/net/tcp, tcp6, udp and udp6), so it needs to know
nothing of the program: by running cat in a container of each pod, or on a node, with --pid or --proc, without any API server.

The pods are those named, else all of the namespace.`,
		Example: "  " + program + " probe -n shop\n" +
			"  " + program + " probe -A -o json\n" +
			"  " + program + " probe web-0 --ephemeral busybox:1.37\n" +
			"  " + program + " probe --pid 4711 --listeners",
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `FILE`; none: as kubectl, else as a pod of the cluster")
	flags.StringVar(&o.context, "context", "", "`CONTEXT` of the kubeconfig")
	flags.StringVarP(&o.namespace, "namespace", "n", "", "`NAMESPACE`; none: that of the context")
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "the pods of all namespaces")
	flags.StringVarP(&o.selector, "selector", "l", "", "only pods with these labels")
	flags.BoolVar(&o.assumeIPv6, "assume-ipv6", false, "judge as on a cluster with IPv6 only, where this one has IPv4: before a move")
	flags.BoolVar(&o.listeners, "listeners", false, "also write every port that is listened on (JSON always has them)")
	flags.StringVar(&o.ephemeral, "ephemeral", "", "where no container has cat, add an ephemeral container of this `IMAGE` to the pod; it cannot be removed again")
	flags.IntSliceVar(&o.pids, "pid", nil, "the network namespace of this process of this machine; may be repeated")
	flags.StringVar(&o.proc, "proc", "", "all network namespaces of this machine, by its proc file system at `DIR`; with --pid, only where that is")
	flags.IntVar(&o.concurrency, "concurrency", 4, "pods at a time")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "limit for one pod, also for the pull of the ephemeral container's image")
	flags.VarP(&o.output, "output", "o", "text, or JSON for programs")
	flags.Var(&o.failOn, "fail-on", "lowest level of findings that gives exit code 1")
	return cmd
}

func (o *probeOptions) run(cmd *cobra.Command, args []string) error {
	node := len(o.pids) > 0 || o.proc != ""
	switch {
	case node && (len(args) > 0 || o.allNamespaces || o.selector != "" || o.namespace != "" || o.ephemeral != ""):
		return errors.New("--pid and --proc read this machine; leave out pods, -n, -l, -A and --ephemeral")
	case len(args) > 0 && (o.allNamespaces || o.selector != ""):
		return errors.New("name pods, or choose them with -l and -A, not both")
	case o.concurrency < 1 || o.timeout <= 0:
		return errors.New("--concurrency and --timeout must be above 0")
	}
	r := newProbeReport()
	if node {
		if err := probeNode(r, o.proc, o.pids); err != nil {
			return err
		}
	} else if err := o.probeCluster(cmd.Context(), r, args, cmd.ErrOrStderr()); err != nil {
		return err
	}
	r.finish(o.failOn.value)
	if err := o.write(cmd, r); err != nil {
		return err
	}
	if r.Summary.ExitCode != 0 {
		return exitCode(r.Summary.ExitCode)
	}
	return nil
}

func (o *probeOptions) write(cmd *cobra.Command, r *probeReport) error {
	if o.output.value == "json" {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return writeError(enc.Encode(r))
	}
	var out, notes strings.Builder
	for _, n := range append(r.Skipped, r.Errors...) {
		notes.WriteString(report.Printable(n.String()) + "\n")
	}
	type place struct {
		probePlace
		protocol string
		port     uint16
	}
	told := map[place]bool{}
	for _, f := range r.Findings {
		told[place{f.probePlace, f.Protocol, f.Port}] = true
		fmt.Fprintf(&out, "%s: %s: %s\n", f.probePlace.String(), f.Level, report.Printable(f.Message))
	}
	if o.listeners {
		for _, t := range r.Targets {
			for _, p := range t.Ports {
				if !told[place{t.probePlace, p.Protocol, p.Port}] {
					fmt.Fprintf(&out, "%s: %s\n", t.probePlace.String(), report.Printable(p.String()))
				}
			}
		}
	}
	fmt.Fprintln(&out, r.Summary.String())
	_, err := io.WriteString(cmd.ErrOrStderr(), notes.String())
	if err == nil {
		_, err = io.WriteString(cmd.OutOrStdout(), out.String())
	}
	return writeError(err)
}

// Levels of findings: what something dials over IPv6 and cannot reach, and what only looks like it.
const (
	probeFault = "fault"
	probeWarn  = "warn"
)

// A probeReport is the result of one run. Its JSON is a contract: docs/probe.md.
type probeReport struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Findings   []probeFinding `json:"findings"`
	Targets    []probeTarget  `json:"targets"` // that were read
	Skipped    []probeNote    `json:"skipped"` // for a reason that is no error, such as a pod that does not run
	Errors     []probeNote    `json:"errors"`
	Summary    probeSummary   `json:"summary"`
}

// A probePlace is a pod or, on a node, a network namespace by one of its processes.
type probePlace struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	PID       int    `json:"pid"`
	Process   string `json:"process"` // its name
}

func (p *probePlace) String() string {
	if p.Pod != "" {
		return p.Namespace + "/" + p.Pod
	}
	return report.Printable(fmt.Sprintf("pid %d (%s)", p.PID, p.Process))
}

// A probeTarget is a network namespace that was read.
type probeTarget struct {
	probePlace
	NetworkNamespace string      `json:"networkNamespace"` // on a node: what /proc/PID/ns/net says
	Container        string      `json:"container"`        // in which it was read
	Ephemeral        bool        `json:"ephemeral"`        // that container was added for it
	HostNetwork      bool        `json:"hostNetwork"`
	IPv6             bool        `json:"ipv6"` // the kernel has it
	Ports            []probePort `json:"ports"`
}

// A probePort is what listens on one port.
type probePort struct {
	Protocol  string   `json:"protocol"`
	Port      uint16   `json:"port"`
	Reach     string   `json:"reach"`
	Addresses []string `json:"addresses"`
	Processes []string `json:"processes"` // on a node
}

// A probeFinding is a port that IPv6 does not reach.
type probeFinding struct {
	probePlace
	probePort
	Level   string     `json:"level"`
	Uses    []probeUse `json:"uses"`
	Message string     `json:"message"`
}

// A probeUse is what dials or declares a port.
type probeUse struct {
	Kind string `json:"kind"` // Service, readinessProbe, livenessProbe, startupProbe, postStart, preStop or containerPort
	Name string `json:"name"` // of the Service or of the container
}

// A probeNote is a place that was not read, or not fully.
type probeNote struct {
	probePlace
	Message string `json:"message"`
}

func (n *probeNote) String() string {
	if n.Pod == "" && n.PID == 0 {
		return "sixgate: " + n.Message
	}
	return n.probePlace.String() + ": " + n.Message
}

type probeSummary struct {
	Targets  int `json:"targets"`
	Faults   int `json:"faults"`
	Warnings int `json:"warnings"`
	Skipped  int `json:"skipped"`
	Errors   int `json:"errors"`
	ExitCode int `json:"exitCode"`
}

func newProbeReport() *probeReport {
	return &probeReport{APIVersion: report.Version, Kind: "ProbeReport",
		Findings: []probeFinding{}, Targets: []probeTarget{}, Skipped: []probeNote{}, Errors: []probeNote{}}
}

// finish counts.
func (r *probeReport) finish(failOn string) {
	s := &r.Summary
	for _, f := range r.Findings {
		if f.Level == probeFault {
			s.Faults++
		} else {
			s.Warnings++
		}
	}
	s.Targets, s.Skipped, s.Errors = len(r.Targets), len(r.Skipped), len(r.Errors)
	switch {
	case s.Errors > 0:
		s.ExitCode = exitError
	case failOn != "none" && s.Faults > 0, failOn == probeWarn && s.Warnings > 0:
		s.ExitCode = exitFindings
	}
}

func (s *probeSummary) String() string {
	text := fmt.Sprintf("%s read: %s, %s", plural(s.Targets, "network namespace"), plural(s.Faults, "fault"), plural(s.Warnings, "warning"))
	if s.Skipped > 0 {
		text += fmt.Sprintf("; %d skipped", s.Skipped)
	}
	if s.Errors > 0 {
		text += "; " + plural(s.Errors, "error")
	}
	return text
}
