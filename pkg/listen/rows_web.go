package listen

func webRows() []Program {
	return []Program{
		{Name: "Apache httpd", Rule: "listen-apache", Ran: "Apache httpd 2.4.71", Source: "httpd.apache.org/docs/2.4/bind.html",
			Keys: []string{"*.conf", "*httpd*", "*apache*"}, Gist: []string{"Listen", "listen", "LISTEN"}, Files: apacheFiles,
			Names: []string{"httpd", "apache2", "httpd-foreground", "apache2-foreground", "apachectl", "apache2ctl"}, Images: []string{"httpd"}, Run: apacheRun, Cases: apacheCases},
		{Name: "HAProxy", Rule: "listen-haproxy", Ran: "HAProxy 2.6.12", Source: "docs.haproxy.org/2.6/configuration.html",
			Keys: []string{"*.cfg", "*haproxy*", "*.conf"}, Gist: []string{"bind", "stats socket"}, Files: each(haproxyFile), Cases: haproxyCases},
		{Name: "PHP-FPM", Rule: "listen-php", Ran: "PHP-FPM 8.2.36", Source: "www.php.net/manual/en/install.fpm.configuration.php",
			Keys: []string{"*.conf", "*php*"}, Gist: []string{"listen"}, Files: phpFiles, Cases: phpFPMCases},
		{Name: "PHP", Rule: "listen-php", Ran: "PHP 8.2.36 (cli)", Source: "Illuminate\\Foundation\\Console\\ServeCommand, for artisan serve",
			Names: []string{"php"}, Run: phpRun, Cases: phpCases},
		{Name: "Envoy", Rule: "listen-envoy", Source: "envoy/config/core/v3/address.proto, message SocketAddress",
			Keys: []string{"*.yaml", "*.yml", "*.json", "*envoy*"}, Gist: []string{"socket_address", "socketAddress"}, Files: each(envoyFile),
			Names: []string{"envoy"}, Images: []string{"envoy"}, Run: envoyRun, Cases: envoyCases},
		{Name: "Contour", Rule: "listen-envoy", Source: "projectcontour.io/docs/main/configuration, serve flags",
			Names: []string{"contour"}, Images: []string{"contour"}, Run: contourRun, Cases: contourCases},
		{Name: "lighttpd", Rule: "listen-proxy", Ran: "lighttpd 1.4.69", Source: "redmine.lighttpd.net/projects/lighttpd/wiki/Docs_ConfigurationOptions",
			Keys: []string{"*.conf", "*lighttpd*"}, Gist: []string{"server."}, Files: each(lighttpdFile), Cases: lighttpdCases},
		{Name: "Squid", Rule: "listen-proxy", Ran: "Squid 5.7", Source: "www.squid-cache.org/Doc/config/http_port",
			Keys: []string{"*.conf", "*squid*"}, Gist: []string{"http_port", "https_port"}, Files: each(squidFile), Cases: squidCases},
		{Name: "Varnish", Rule: "listen-proxy", Ran: "Varnish 7.1.1", Source: "varnish-cache.org/docs/trunk/reference/varnishd.html",
			Names: []string{"varnishd"}, Images: []string{"varnish"}, Run: varnishRun, Cases: varnishCases},
		{Name: "stunnel", Rule: "listen-proxy", Ran: "stunnel 5.68", Source: "www.stunnel.org/static/stunnel.html",
			Keys: []string{"*.conf", "*stunnel*"}, Gist: []string{"accept"}, Files: each(stunnelFile), Cases: stunnelCases},
		{Name: "Kong", Rule: "listen-proxy", Source: "kong.conf.default of Kong 3; its listens are nginx's",
			Keys: []string{"*kong*", "*.conf"}, Gist: []string{"_listen"}, Files: each(kongFile), Names: []string{"kong"}, Images: []string{"kong"}, Any: true, Run: kongRun, Cases: kongCases},
		{Name: "NGINX Unit", Rule: "listen-proxy", Source: "unit.nginx.org/configuration; src/nxt_sockaddr.c",
			Keys: []string{"*.json", "*unit*"}, Gist: []string{`"listeners"`}, Files: each(unitFile), Cases: unitCases},
		{Name: "APISIX", Rule: "listen-proxy", Source: "apisix/cli/ops.lua of APISIX 3",
			Keys: []string{"*.yaml", "*.yml"}, Gist: []string{"apisix:"}, Files: each(apisixFile), Cases: apisixCases},
		{Name: "Caddy", Rule: "listen-proxy", Ran: "Caddy 2.6.2", Source: "caddyserver.com/docs/caddyfile/directives/bind",
			Keys: []string{"*caddy*", "*.json"}, Gist: []string{"bind", "tcp4/"}, Files: each(caddyFiles), Cases: caddyCases},
		{Name: "Traefik", Rule: "listen-proxy", Source: "pkg/server/server_entrypoint_tcp.go of Traefik",
			Keys: []string{"*.yaml", "*.yml", "*.toml"}, Gist: []string{"ntryPoints", "ntrypoints"}, Files: each(traefikFile),
			Names: []string{"traefik"}, Images: []string{"traefik"}, Run: traefikRun, Cases: traefikCases},
		{Name: "ingress-nginx", Rule: "listen-nginx", Source: "docs/user-guide/nginx-configuration/configmap.md of kubernetes/ingress-nginx",
			Keys: []string{"disable-ipv6"}, Files: ingressNginxFiles, Folder: true, Cases: ingressNginxCases},
		{Name: "F5 NGINX Ingress Controller", Rule: "listen-nginx", Source: "cmd/nginx-ingress/flags.go of nginx/kubernetes-ingress",
			Names: []string{"nginx-ingress"}, Images: []string{"nginx-ingress", "nginx-plus-ingress"}, Run: f5NginxRun, Cases: f5NginxCases},
	}
}

// maxBinds is how many listeners one file has at most; beyond it there is no answer, so that an answer never takes long.
const maxBinds = 1000

// serveBoth takes the fault from an IPv4 listener if another one has its port over IPv6.
func serveBoth(listeners []Listener) []Listener {
	type port struct {
		number string
		udp    bool
	}
	six := map[port]bool{}
	for _, l := range listeners {
		if l.Family == IPv6 || l.Family == Dual {
			six[port{l.Port, l.UDP}] = true
		}
	}
	for i, l := range listeners {
		if l.Fault == IPv4Only && l.Port != "" && six[port{l.Port, l.UDP}] {
			listeners[i].Fault, listeners[i].Reason, listeners[i].Advice, listeners[i].Doubt, listeners[i].Edits = None, "", "", "", nil
		}
	}
	return listeners
}
