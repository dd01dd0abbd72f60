package rules

// windowsNode warns of pods for Windows.
//
// Source: kubernetes.io/docs/concepts/services-networking/dual-stack, "Windows support": single-stack IPv6 is not supported there.
func windowsNode() *Rule {
	return &Rule{
		ID: "windows-node", Since: "v0.1.0", Level: Warn,
		Title:   "Pod is for Windows, which has no IPv6-only networking",
		Targets: podTargets(),
		Check:   checkWindowsNode,
		CEL:     celWindowsNode(),
	}
}

func checkWindowsNode(req *Request) []Finding {
	o := req.Object
	pod, ok := podPath(o)
	if !ok || isMirror(o) || !isWindows(o, pod) {
		return nil
	}
	path := pod.With("spec", "os", "name")
	if o.Str(path...) != "windows" {
		path = pod.With("spec", "nodeSelector", "kubernetes.io/os")
	}
	if o.Str(path...) != "windows" {
		path = pod.With("spec", "nodeSelector", "beta.kubernetes.io/os")
	}
	return []Finding{{Path: path, Subject: "os", Value: "windows",
		Message: `"windows" nodes have no IPv6-only pods, Kubernetes does not support it; run it on a dual-stack cluster`}}
}

func celWindowsNode() *CEL {
	return &CEL{Write: func(a *Active, _ *Policy) *Expressions {
		label := func(l string) string { return "$pod.?spec.?nodeSelector[?'" + l + "'].orValue('') == 'windows'" }
		return &Expressions{
			Variables: celPodVariables(),
			Faults: "$mirror || !" + celWindows + " ? [] : [" + celFault(a.ID, "'"+celLevel(a)+"'",
				celPodPath+" + ($pod.?spec.?os.?name.orValue('') == 'windows' ? 'spec.os.name' :\n  "+label("kubernetes.io/os")+
					" ? 'spec.nodeSelector[\"kubernetes.io/os\"]' : 'spec.nodeSelector[\"beta.kubernetes.io/os\"]')",
				"'os'", "'windows'", `'"windows" nodes have no IPv6-only pods, Kubernetes does not support it; run it on a dual-stack cluster'`) + "]",
		}
	}}
}
