package listen

import "testing"

// TestDoubts are folders whose files may serve IPv6 after all, by another file, a template or a server of the same name: none
// has a fault that is certain.
func TestDoubts(t *testing.T) {
	for name, files := range map[string][]File{
		"nginx-split-servers": {{"default.conf", "server { listen 80; server_name a.example; location / { return 200; } }\nserver { listen [::]:80; server_name a.example; location / { return 200; } }\n"}},
		"nginx-split-files":   {{"v4.conf", "server { listen 80; server_name a.example; location / { return 200; } }\n"}, {"v6.conf", "server { listen [::]:80; server_name a.example; location / { return 200; } }\n"}},
		"nginx-split-default": {{"a.conf", "server { listen 80 default_server; root /; }\nserver { listen [::]:80 default_server; root /; }"}},
		"nginx-html":          {{"index.html", "server { listen 80; location / { return 200; } }"}},
		"nginx-example-names": {{"example-nginx.conf", "server { listen 80; location / { return 200; } }\n"}},
		"nginx-disabled-dash": {{"default.conf-disabled", "server { listen 80; location / { return 200; } }"}},
		"apache-include":      {{"httpd.conf", "ServerRoot /usr/local/apache2\nListen 0.0.0.0:80\nIncludeOptional conf.d/*.conf\n"}},
		"apache-two-keys":     {{"httpd.conf", "ServerRoot /usr/local/apache2\nListen 0.0.0.0:80\nInclude conf/v6.conf\n"}, {"v6.conf", "Listen [::]:80\n"}},
		"cups":                {{"cupsd.conf", "LogLevel warn\nListen 0.0.0.0:631\nListen /run/cups/cups.sock\n<Location />\n  Order allow,deny\n</Location>\n"}},
		"apache-bak2":         {{"httpd.conf.save", "ServerRoot /usr/local/apache2\nListen 0.0.0.0:80\n"}, {"httpd.conf~", "ServerRoot /usr/local/apache2\nListen 0.0.0.0:80\n"}, {"original-httpd.conf", "ServerRoot /usr/local/apache2\n"}},
		"haproxy-two-files":   {{"v4.cfg", "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\nfrontend a\n  bind *:80\n  default_backend b\nbackend b\n"}, {"v6.cfg", "frontend a6\n  bind :::80 v6only\n  default_backend b\n"}},
		"haproxy-tpl-inline":  {{"haproxy.tmpl", "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\nfrontend a\n  bind *:80\n{{ if .v6 }}  bind :::80 v6only{{ end }}\n"}},
		"haproxy-tpl-else":    {{"haproxy.cfg.j2", "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\nfrontend a\n{% if not v6 %}\n  bind *:80\n{% endif %}\n{% for a in addrs %}\n  bind {{ a }}:80\n{% endfor %}\n"}},
		"haproxy-erb":         {{"haproxy.cfg.erb", "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\nfrontend a\n  bind *:80\n<%= v6 %>\n"}},
		"haproxy-disabled":    {{"haproxy.cfg", "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\nfrontend a\n  disabled\n  bind *:80\nfrontend b\n  bind :::8080 v4v6\n"}},
		"envoy-two-listeners": {{"envoy.yaml", "static_resources:\n  listeners:\n  - name: l0\n    address:\n      socket_address: {address: \"0.0.0.0\", port_value: 80}\n  - name: l1\n    address:\n      socket_address: {address: \"::\", port_value: 80}\n"}},
		"envoy-two-files":     {{"l4.yaml", "resources:\n- \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n  address:\n    socket_address: {address: 0.0.0.0, port_value: 80}\n"}, {"l6.yaml", "resources:\n- \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n  address:\n    socket_address: {address: '::', port_value: 80}\n"}},
		"envoy-api-listener":  {{"envoy.yaml", "static_resources:\n  listeners:\n  - name: a\n    api_listener: {}\n    address: {socket_address: {address: 0.0.0.0, port_value: 80}}\n"}},
		"envoy-bind-false":    {{"envoy.yaml", "static_resources:\n  listeners:\n  - address: {socket_address: {address: 0.0.0.0, port_value: 80}}\n    deprecated_v1: {bind_to_port: false}\n"}},
		"php-nginx-sidecar":   {{"nginx.conf", "http { server { listen 80; listen [::]:80; location / { fastcgi_pass 127.0.0.1:9000; } } }"}, {"php-fpm.conf", "[global]\nerror_log = /dev/stderr\n[app]\nuser = www-data\npm = static\npm.max_children = 1\nlisten = 0.0.0.0:9000\n"}},
		"php-override":        {{"app.conf", "[global]\nerror_log = /dev/stderr\n[app]\nuser = www-data\npm = static\npm.max_children = 1\nlisten = 0.0.0.0:9000\n"}, {"zz-app.conf", "[app]\nlisten = [::]:9000\n"}},
		"php-include":         {{"php-fpm.conf", "[global]\nerror_log = /dev/stderr\n[app]\nuser = www-data\npm = static\npm.max_children = 1\nlisten = 0.0.0.0:9000\ninclude=/etc/php/pool.d/*.conf\n"}},
		"php-tpl2":            {{"app.conf", "{% if a %}\n[global]\nerror_log = /dev/stderr\n[app]\nuser = www-data\npm = static\npm.max_children = 1\nlisten = 0.0.0.0:9000\n{% endif %}\n"}},
		"spring-in-conf":      {{"app.conf", "server.port=8080\nserver.servlet.context-path=/x\nserver.error.include-stacktrace=never\n"}},
		"play-conf":           {{"application.conf", "server.port = 8080\nserver.host = \"::\"\n"}},
		"lighttpd-vhost":      {{"lighttpd.conf", "server.modules = ()\nserver.document-root = \"/x\"\nserver.use-ipv6 = \"enable\"\nserver.port = 80\ninclude \"vhost.conf\"\n"}, {"vhost.conf", "$HTTP[\"host\"] == \"a\" {\n  server.document-root = \"/a\"\n  server.errorlog = \"/b\"\n}\n"}},
		"lighttpd-concat":     {{"lighttpd.conf", "server.modules = ()\nserver.document-root = \"/x\"\nvar.p = 80\nserver.port = var.p\n$SERVER[\"socket\"] == \"[::]:\" + var.p { }\n"}},
		"lighttpd-tpl":        {{"lighttpd.conf", "server.modules = ()\nserver.document-root = \"/x\"\nserver.port = 80\n{{ .ipv6 }}\n"}},
		"squid-include":       {{"squid.conf", "acl a src all\nhttp_access allow a\nhttp_port 0.0.0.0:3128\ninclude /etc/squid/conf.d/*.conf\n"}},
		"squid-two":           {{"squid.conf", "acl a src all\nhttp_access allow a\nhttp_port 0.0.0.0:3128\ninclude /etc/squid/conf.d/*.conf\n"}, {"v6.conf", "http_port [::]:3128\n"}},
		"squid-doc":           {{"squid.conf.documented", "acl a src all\nhttp_access allow a\nhttp_port 0.0.0.0:3128\n"}},
		"postfix-bak":         {{"main.cf.bak", "inet_protocols = ipv4\n"}, {"main.cf.example", "inet_protocols = ipv4\n"}},
		"postfix-override":    {{"main.cf", "inet_protocols = ipv4\n"}, {"postfix-main.cf", "inet_protocols = all\n"}},
		"postfix-jinja":       {{"main.cf", "{% if v4 %}\ninet_protocols = ipv4\n{% endif %}\n"}},
		"postfix-tpl":         {{"main.cf", "{{ if .v4 }}\ninet_protocols = ipv4\n{{ end }}\n"}},
		"postfix-nolisten":    {{"main.cf", "inet_protocols = ipv4\nmaster_service_disable = inet\n"}},
		"dovecot-override":    {{"dovecot.conf", "protocols = imap\nlisten = *\n!include_try local.conf\n"}, {"local.conf", "listen = *, ::\npassdb {\n driver = x\n}\n"}},
		"dovecot-include":     {{"dovecot.conf", "protocols = imap\nlisten = *\n!include conf.d/*.conf\n"}},
		"dovecot-port0":       {{"dovecot.conf", "service imap-login {\n  inet_listener imap {\n    address = *\n    port = 0\n  }\n}\n"}},
		"dovecot-bak":         {{"dovecot.conf.bak", "protocols = imap\nlisten = *\n"}, {"dovecot.conf.sample", "listen = *\n"}},
		"unbound-two":         {{"unbound.conf", "server:\n  access-control: ::/0 allow\n  interface: 0.0.0.0\n  include: /etc/unbound/v6.conf\n"}, {"v6.conf", "server:\n  interface: ::0\n  access-control: ::/0 allow\n"}},
		"unbound-include":     {{"unbound.conf", "server:\n  access-control: ::/0 allow\n  interface: 0.0.0.0\ninclude: \"/etc/unbound/conf.d/*.conf\"\n"}},
		"unbound-jinja":       {{"unbound.conf.j2", "server:\n  access-control: ::/0 allow\n  interface: 0.0.0.0\n{% if v6 %}\n  interface: ::0\n{% endif %}\n"}},
		"unbound-bak":         {{"unbound.conf.bak", "server:\n  access-control: ::/0 allow\n  interface: 0.0.0.0\n"}},
		"bind-bak":            {{"named.conf.bak", "options { listen-on-v6 { none; }; };\n"}, {"named.conf.example", "options { listen-on-v6 { none; }; };\n"}},
		"dnsmasq-interface":   {{"dnsmasq.conf", "interface=eth0\nlisten-address=0.0.0.0\nbind-interfaces\n"}},
		"dnsmasq-two":         {{"dnsmasq-v6.conf", "listen-address=::\n"}, {"dnsmasq.conf", "listen-address=0.0.0.0\nbind-interfaces\nconf-dir=/etc/dnsmasq.d\n"}},
		"dnsmasq-tpl":         {{"dnsmasq.conf", "{{ if .v4 }}\nlisten-address=0.0.0.0\nbind-interfaces\n{{ end }}\n"}},
		"sshd-bak":            {{"sshd_config.bak", "ListenAddress 0.0.0.0\n"}, {"sshd_config.example", "AddressFamily inet\n"}},
		"sshd-two":            {{"sshd-v6.conf", "ListenAddress ::\n"}, {"sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\nListenAddress 0.0.0.0\n"}},
		"sshd-include":        {{"sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\nAddressFamily inet\n"}},
		"sshd-jinja":          {{"sshd_config", "{% if v4 %}\nAddressFamily inet\n{% endif %}\n"}},
		"vsftpd-bak":          {{"vsftpd.conf.bak", "listen=YES\n"}, {"vsftpd.conf.sample", "listen=YES\n"}},
		"coturn-tpl":          {{"turnserver.conf", "{{ if .v4 }}\nlistening-ip=0.0.0.0\n{{ end }}\n"}},
		"rsync-bak":           {{"rsyncd.conf.bak", "address = 0.0.0.0\n"}},
		"gluster-bak":         {{"glusterd.vol.bak", "volume management\n type mgmt/glusterd\nend-volume\n"}},
		"ceph-bak":            {{"ceph.conf.bak", "[global]\nms_bind_ipv6 = false\n[osd]\na=1\n"}},
		"synapse-sample":      {{"homeserver.sample.yaml", "server_name: a\nlisteners:\n- port: 8008\n  bind_addresses: ['0.0.0.0']\n"}},
		"fb-unix":             {{"fluent-bit.conf", "[SERVICE]\n  Flush 1\n[INPUT]\n  Name forward\n  Unix_Path /run/f.sock\n"}},
		"fb-bak":              {{"fluent-bit.conf.bak", "[SERVICE]\n  HTTP_Server On\n"}},
		"fb-jinja":            {{"fluent-bit.conf", "[SERVICE]\n  HTTP_Server On\n  HTTP_Port {{ x }}\n  {{ listen }}\n"}},
		"fd-quotes":           {{"fluent.conf", "<source>\n  @type forward\n  bind \"#{ENV[\"BIND\"] || \"::\"}\"\n</source>\n"}},
		"fd-quotes2":          {{"fluent.conf", "<source>\n  @type forward\n  bind #{ENV['BIND'] || '::'}\n</source>\n"}},
		"fd-include":          {{"fluent.conf", "<source>\n  @type forward\n  @include bind.conf\n</source>\n"}},
		"fd-two-files":        {{"a.conf", "<source>\n  @type forward\n  bind 0.0.0.0\n</source>\n"}, {"b.conf", "<source>\n  @type forward\n  bind ::\n</source>\n"}},
		"fd-bak":              {{"fluent.conf.bak", "<source>\n  @type forward\n</source>\n"}},
		"fd-jinja":            {{"fluent.conf", "{% if fwd %}\n<source>\n  @type forward\n {{ bind }}\n</source>\n{% endif %}\n"}},
	} {
		for _, l := range ReadFiles(files) {
			if l.Fault != None && l.Certain() {
				t.Errorf("%s: %s %s", name, l.Program, describe(l))
			}
		}
	}
}

// TestRepairsKeep are repairs that must not take what is served already.
func TestRepairsKeep(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"BIND: the default listen-on-v6":    {"named.conf", "options {\n listen-on port 5353 { any; };\n};\n", "options {\n listen-on port 5353 { any; };\n listen-on-v6 port 5353 { any; };\n listen-on-v6 port 53 { any; };\n};\n"},
		"BIND: TLS":                         {"named.conf", "options {\n listen-on port 853 tls local { any; };\n listen-on-v6 port 53 { any; };\n};\n", ""},
		"dnsmasq: another listen-address":   {"dnsmasq.conf", "listen-address=127.0.0.1\nlisten-address=0.0.0.0\nbind-interfaces\n", ""},
		"Envoy: a key with a question mark": {"envoy.yaml", "static_resources:\n  listeners:\n  - address:\n      socket_address:\n        ? address\n        : 0.0.0.0\n        port_value: 80\n", ""},
	} {
		f := File{c.file, c.text}
		want := c.want
		if want == "" {
			want = c.text
		}
		if got := Repair(f, ReadFiles([]File{f})); got != want {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

// TestOnlyTested are commands that test or show a configuration, or options that do not count: nothing listens on IPv4 only.
func TestOnlyTested(t *testing.T) {
	for _, line := range []string{
		"httpd -t -c 'Listen 0.0.0.0:80'", "apache2ctl -S -c 'Listen 0.0.0.0:80'", "varnishd -C -f /x -a 0.0.0.0:80", "named -V -4", "sshd -t -4", "slapd -Tt -4", "dnsmasq --test -a 0.0.0.0 -z",
		"dnsmasq -i eth0 -a 0.0.0.0 -z", "php cli.php -S 0.0.0.0:8000", "envoy --mode validate --config-yaml '{admin: {address: {socket_address: {address: 0.0.0.0, port_value: 1}}}}'",
		"contour certgen --envoy-service-http-address=0.0.0.0", "ceph-mon --mkfs --public-addr=10.1.2.3", "ceph-osd --ms-bind-ipv6=false --ms-bind-ipv6=true", "nginx-ingress -disable-ipv6 -disable-ipv6=false",
	} {
		listeners, _ := (Case{Config: line}).Read()
		for _, l := range listeners {
			if l.Fault != None && l.Certain() {
				t.Errorf("%s: %s", line, describe(l))
			}
		}
	}
}

// TestUnknownPort: where a Secret has the port, it is not the program's default.
func TestUnknownPort(t *testing.T) {
	for image, names := range map[string][2]string{
		"rabbitmq":          {"RABBITMQ_NODE_IP_ADDRESS", "RABBITMQ_NODE_PORT"},
		"bitnami/memcached": {"MEMCACHED_LISTEN_ADDRESS", "MEMCACHED_PORT_NUMBER"},
	} {
		got := ReadProcess(Process{Image: image, Env: []Variable{{names[0], File{"a", "0.0.0.0"}, true}, {names[1], File{"b", ""}, false}}})
		if len(got) != 1 || got[0].Family != IPv4 || got[0].Port != "" {
			t.Errorf("%s: %+v", image, got)
		}
	}
}
