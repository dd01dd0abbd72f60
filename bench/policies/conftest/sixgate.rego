# What conftest is asked: the rules service-ip-family, service-ipv4-address and host-port-ipv4, for a manifest that is created.
# Not asked, since no input of the benchmark has it: ports that are published on both families, opt-outs, IPv4-mapped addresses.
package main

ipv4(text) if regex.match(`^[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?$`, text)

service if {
	input.apiVersion == "v1"
	input.kind == "Service"
	object.get(input.spec, "type", "ClusterIP") != "ExternalName"
}

headless if input.spec.clusterIP == "None"

endpoints_only if {
	headless
	count(object.get(input.spec, "selector", {})) == 0
}

families if "IPv4" in input.spec.ipFamilies

families if input.spec.ipFamilyPolicy == "RequireDualStack"

families if ipv4(input.spec.clusterIP)

families if {
	not headless
	some ip in input.spec.clusterIPs
	ipv4(ip)
}

fault(rule, message) := {"msg": message, "rule": rule, "object": sprintf("%s/%s", [input.kind, input.metadata.name])}

deny contains fault("service-ip-family", "asks for IPv4") if {
	service
	not endpoints_only
	families
}

addresses if {
	some ip in input.spec.externalIPs
	ipv4(ip)
}

addresses if {
	input.spec.type == "LoadBalancer"
	ipv4(input.spec.loadBalancerIP)
}

addresses if {
	input.spec.type == "LoadBalancer"
	some range in input.spec.loadBalancerSourceRanges
	ipv4(range)
	every r in input.spec.loadBalancerSourceRanges { ipv4(r) }
}

deny contains fault("service-ipv4-address", "is given IPv4 addresses") if {
	service
	addresses
}

pod := input.spec if {
	input.apiVersion == "v1"
	input.kind == "Pod"
}

pod := input.template.spec if input.kind == "PodTemplate"

pod := input.spec.template.spec if input.kind in {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"}

pod := input.spec.jobTemplate.spec.template.spec if input.kind == "CronJob"

published(port) if port.hostPort > 0

published(port) if {
	pod.hostNetwork
	port.containerPort > 0
}

deny contains fault("host-port-ipv4", "publishes a host port on IPv4") if {
	object.get(input.metadata, "namespace", "default") != "kube-system"
	some list in ["containers", "initContainers"]
	some container in pod[list]
	some port in container.ports
	published(port)
	ipv4(port.hostIP)
}
