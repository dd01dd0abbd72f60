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
