package listen

import "strings"

func daemonRows() []Program {
	return []Program{
		{Name: "Postfix", Rule: "listen-mail", Ran: "Postfix 3.7.11", Keys: []string{"*main.cf*", "*postfix*"}, Gist: []string{"inet_protocols", "inet_interfaces"},
			Files: each(postfixFile), Cases: postfixCases},
		{Name: "Dovecot", Rule: "listen-mail", Ran: "Dovecot 2.3.19.1", Keys: []string{"*dovecot*", "10-master.conf", "*.conf"}, Gist: []string{"listen", "inet_listener"},
			Files: each(dovecotFile), Cases: dovecotCases},
		{Name: "Unbound", Rule: "listen-dns", Ran: "Unbound 1.17.1", Keys: []string{"*unbound*", "*.conf"}, Gist: []string{"server:"},
			Files: each(unboundFile), Cases: unboundCases},
		{Name: "BIND", Rule: "listen-dns", Ran: "BIND 9.18.49", Keys: []string{"*named*", "*bind*", "*.conf"}, Gist: []string{"listen-on"},
			Files: each(bindFile), Names: []string{"named"}, Images: []string{"bind9"}, Run: bindRun, Cases: bindCases},
		{Name: "dnsmasq", Rule: "listen-dns", Ran: "dnsmasq 2.90", Keys: []string{"*dnsmasq*"}, Gist: []string{"listen-address"},
			Files: each(dnsmasqFile), Names: []string{"dnsmasq"}, Images: []string{"dnsmasq"}, Run: dnsmasqRun, Cases: dnsmasqCases},
		{Name: "CoreDNS", Rule: "listen-dns", Source: "CoreDNS plugin/bind and plugin/pkg/reuseport; Go's net.Listen was run", Keys: []string{"*corefile*", "*.server", "*.override", "*coredns*"}, Gist: []string{"bind "},
			Files: each(corednsFile), Names: []string{"node-cache"}, Images: []string{"k8s-dns-node-cache"}, Run: corednsRun, Cases: corednsCases},
		{Name: "OpenLDAP", Rule: "listen-daemon", Ran: "slapd 2.5.13", Names: []string{"slapd"}, Run: slapdRun, Cases: slapdCases},
		{Name: "OpenSSH", Rule: "listen-daemon", Ran: "OpenSSH 9.2p1", Keys: []string{"*sshd*"}, Files: each(sshdFile),
			Names: []string{"sshd"}, Run: sshdRun, Cases: sshdCases},
		{Name: "vsftpd", Rule: "listen-daemon", Ran: "vsftpd 3.0.3", Keys: []string{"*vsftpd*"}, Gist: []string{"listen"}, Files: each(vsftpdFile), Cases: vsftpdCases},
		{Name: "coturn", Rule: "listen-daemon", Ran: "coturn 4.6.1", Keys: []string{"*turnserver*", "*coturn*"}, Gist: []string{"listening-ip"},
			Files: each(coturnFile), Names: []string{"turnserver"}, Images: []string{"coturn"}, Run: coturnRun, Cases: coturnCases},
		{Name: "rsync", Rule: "listen-daemon", Ran: "rsync 3.5.0", Keys: []string{"*rsyncd*"}, Gist: []string{"address"},
			Files: each(rsyncFile), Names: []string{"rsync"}, Run: rsyncRun, Cases: rsyncCases},
		{Name: "GlusterFS", Rule: "listen-daemon", Ran: "GlusterFS 10.3", Keys: []string{"*glusterd*"}, Gist: []string{"mgmt/glusterd"},
			Files: each(glusterFile), Cases: glusterCases},
		{Name: "Ceph", Rule: "listen-ceph", Source: "Ceph options ms_bind_ipv4, ms_bind_ipv6 and public_network of the documentation", Keys: []string{"*ceph*", "config"},
			Gist: []string{"ms", "public"}, Files: each(cephFile), Names: []string{"ceph-mon", "ceph-osd", "ceph-mds", "ceph-mgr", "radosgw"}, Run: cephRun, Cases: cephCases},
		{Name: "Synapse", Rule: "listen-matrix", Source: "Synapse synapse/config/server.py; Twisted 22.4 was run", Keys: []string{"*.yaml", "*.yml"}, Gist: []string{"server_name", "worker_app"},
			Files: each(synapseFile), Cases: synapseCases},
		{Name: "Collabora Online", Rule: "listen-collabora", Source: "coolwsd.xml.in, net.proto and net.listen", Keys: []string{"*coolwsd*.xml", "*loolwsd*.xml"}, Gist: []string{"<proto"},
			Files: each(collaboraFile), Names: []string{"coolwsd", "loolwsd", "start-collabora-online.sh"}, Images: []string{"code"}, Run: collaboraRun, Cases: collaboraCases},
		{Name: "Fluent Bit", Rule: "listen-log-collector", Source: "Fluent Bit flb_config.h, flb_network.c, issue 6600 and pull request 9449", Keys: []string{"*.conf", "*.yaml", "*.yml", "*fluent*"},
			Gist: []string{"[SERVICE]", "[INPUT]", "pipeline:"}, Files: each(fluentBitFile), Cases: fluentBitCases},
		{Name: "Fluentd", Rule: "listen-log-collector", Source: "Fluentd documentation of in_forward, in_http, in_tcp and in_monitor_agent", Keys: []string{"*.conf", "*fluent*"}, Gist: []string{"<source>"},
			Files: each(fluentdFile), Cases: fluentdCases},
		{Name: "Kubernetes components", Rule: "listen-kubernetes-component", Source: "Kubernetes API types of kubelet, kube-proxy and kubeadm; Go's net.Listen was run",
			Gist: []string{"kubelet.config.k8s.io", "kubeproxy.config.k8s.io", "kubeadm.k8s.io"}, Files: each(componentFile), Cases: componentCases},
	}
}

// maxServers bounds the work on one file: the place of each listener is counted from the start.
const maxServers = 100

const giveIPv6 = "give an IPv6 address"

// orElse makes an IPv4 listener a fault, with the way out; a concrete address has none that we know.
func (l Listener) orElse(advice string, edits ...Edit) Listener {
	if l.Family != IPv4 {
		return l
	}
	l.Fault, l.Reason, l.Advice, l.Edits = IPv4Only, binds0(l.Address), advice, edits
	if isConcrete(l.Address) {
		l.Advice, l.Edits = giveIPv6, nil
	}
	return l
}

// siblings takes the fault from IPv4 listeners whose port another one serves on IPv6, and doubts it where another one may.
func siblings(all []Listener) []Listener {
	six, unknown := map[string]bool{}, map[string]string{}
	for _, l := range all {
		switch l.Family {
		case IPv6, Dual:
			six[l.Port] = true
		case Unknown:
			unknown[l.Port] = l.Address
		}
	}
	for i := range all {
		l := &all[i]
		if l.Fault != IPv4Only {
			continue
		}
		if six[l.Port] {
			l.Fault, l.Reason, l.Advice, l.Edits = None, "", "", nil
		} else if other, ok := unknown[l.Port]; ok && l.Doubt == "" {
			l.Doubt = oneLine("\"" + other + "\" is an IPv6 address")
		}
	}
	return all
}

// isYes reports whether a value means true in most of these formats.
func isYes(s string) bool {
	switch strings.ToLower(s) {
	case "yes", "true", "on", "1":
		return true
	}
	return false
}

// isNo reports whether a value means false.
func isNo(s string) bool {
	switch strings.ToLower(s) {
	case "no", "false", "off", "0":
		return true
	}
	return false
}
