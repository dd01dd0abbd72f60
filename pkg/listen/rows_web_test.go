package listen

import "testing"

// TestTogether judges files that say something only together.
func TestTogether(t *testing.T) {
	haproxy := "defaults\n  timeout connect 5s\nfrontend web\n  bind *:80\nfrontend web6\n  bind :::80 v6only\n"
	fpm := func(listen string) string { return "[www]\nlisten = " + listen + "\npm = static\n" }
	for _, c := range []struct {
		name  string
		files []File
		fault Fault
		doubt bool
		fix   bool
	}{
		{"setting of ingress-nginx", []File{{"disable-ipv6", "true"}, {"use-forwarded-headers", "true"}}, IPv4Only, false, true},
		{"setting of whom", []File{{"disable-ipv6", "true"}, {"colour", "blue"}}, IPv4Only, true, true},
		{"another frontend has the port", []File{{"haproxy.cfg", haproxy}}, IPv4Only, true, false},
		{"pool of the image", []File{{"www.conf", fpm("0.0.0.0:9000")}}, IPv4Only, true, true},
		{"a later file counts", []File{{"www.conf", fpm("0.0.0.0:9000")}, {"zz-docker.conf", fpm("9000")}}, None, false, false},
		{"the last file counts", []File{{"www.conf", fpm("9000")}, {"zz-docker.conf", fpm("0.0.0.0:9000")}}, IPv4Only, false, true},
		{"two files of Apache", []File{{"ports.conf", "Listen 0.0.0.0:80\n"}, {"httpd.conf", "ServerRoot /\nListen [::]:80\n"}}, None, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			fault, doubt, fix := None, false, false
			for _, l := range ReadFiles(c.files) {
				if l.Fault != None {
					fault, doubt, fix = l.Fault, !l.Certain(), l.Fixable()
				}
			}
			if fault != c.fault || doubt != c.doubt || fix != c.fix {
				t.Errorf("fault %s, doubt %t, fix %t", fault, doubt, fix)
			}
		})
	}
}
