// Package live reads from an API server what is true of a cluster: what the webhook needs while it runs, and what a policy says. It
// changes nothing.
package live

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

// ServiceFamilies reads the families that Services can have, primary first, and says where: from the ServiceCIDR that the API server
// makes of its own flags. Other ServiceCIDRs add addresses, never a family. An API server before v1.33 has none; its own Service tells
// the primary family only, so IPv6 there is no proof that the cluster is not dual-stack, and an error.
//
// Source: kube-apiserver v1.37, pkg/controlplane/controller/defaultservicecidr.
func ServiceFamilies(ctx context.Context, client rest.Interface) (families []string, from string, err error) {
	var cidr networkingv1.ServiceCIDR
	err = get(ctx, client, "/apis/networking.k8s.io/v1/servicecidrs/kubernetes", &cidr)
	if err == nil {
		for _, c := range cidr.Spec.CIDRs {
			if p, err := netip.ParsePrefix(c); err == nil {
				families = append(families, FamilyOf(p.Addr()))
			}
		}
		return families, "ServiceCIDR kubernetes: " + strings.Join(cidr.Spec.CIDRs, ", "), nil
	}
	if !apierrors.IsNotFound(err) {
		return nil, "", unread("get", "servicecidrs", err)
	}
	var svc corev1.Service
	if err := get(ctx, client, "/api/v1/namespaces/default/services/kubernetes", &svc); err != nil {
		return nil, "", unread("get", "services of default", err)
	}
	families, err = ownServiceFamilies(&svc)
	return families, "Service default/kubernetes, this API server has no ServiceCIDR", err
}

func ownServiceFamilies(svc *corev1.Service) ([]string, error) {
	if len(svc.Spec.IPFamilies) == 0 || svc.Spec.IPFamilies[0] != corev1.IPv4Protocol {
		return nil, errors.New("this API server has no ServiceCIDR kubernetes and may be dual-stack; set cluster.families in the policy")
	}
	return []string{"IPv4"}, nil
}

// FamilyOf returns IPv4 or IPv6, as Services spell them.
func FamilyOf(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
