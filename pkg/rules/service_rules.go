package rules

// serviceRules are the rules of Services, of what stands behind them and of what leads to them from outside.
func serviceRules() []*Rule {
	return []*Rule{
		serviceIPv4Address(),
		servicePool(),
		servicePoolAnnotation(),
		serviceCloudLB(),
		serviceExternalName(),
		endpointsIPv4(),
		ingressIPv4(),
		helmValuesIPv4(),
	}
}
