package live

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestOwnServiceFamilies: without a ServiceCIDR only IPv4 is an answer, because an IPv6-first cluster may be dual-stack.
func TestOwnServiceFamilies(t *testing.T) {
	svc := func(f ...corev1.IPFamily) *corev1.Service {
		return &corev1.Service{Spec: corev1.ServiceSpec{IPFamilies: f}}
	}
	if got, err := ownServiceFamilies(svc(corev1.IPv4Protocol)); err != nil || len(got) != 1 || got[0] != "IPv4" {
		t.Errorf("IPv4: %v, %v", got, err)
	}
	for _, s := range []*corev1.Service{svc(corev1.IPv6Protocol), svc()} {
		if got, err := ownServiceFamilies(s); err == nil {
			t.Errorf("%v: %v, want an error", s.Spec.IPFamilies, got)
		}
	}
}
