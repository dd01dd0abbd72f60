package rules

// All returns the rules in the order in which they are applied and reported. service-headless comes before
// service-ip-family: what becomes headless needs no address.
func All() []*Rule {
	out := []*Rule{
		serviceHeadless(),
		serviceIPFamily(),
		apiServerHost(),
		podIPPool(),
		podIPPoolValue(),
		hostPortIPv4(),
	}
	out = append(out, listenRules()...)
	out = append(out, serviceRules()...)
	out = append(out, networkRules()...)
	out = append(out, podRules()...)
	out = append(out, clusterRules()...)
	return append(out, sixgateAnnotation())
}

// IDs returns the IDs of All.
func IDs() []string {
	var ids []string
	for _, r := range All() {
		ids = append(ids, r.ID)
	}
	return ids
}
