{{- /* Generated from pkg/rules by `make generate`; do not edit. */ -}}

{{- define "sixgate.mutate.rules" -}}
- apiGroups:
  - ""
  apiVersions:
  - v1
  operations:
  - CREATE
  - UPDATE
  resources:
  - pods
  - services
  scope: Namespaced
- apiGroups:
  - ""
  apiVersions:
  - v1
  operations:
  - UPDATE
  resources:
  - pods/ephemeralcontainers
  scope: Namespaced
- apiGroups:
  - ""
  apiVersions:
  - v1
  operations:
  - CREATE
  - UPDATE
  resources:
  - namespaces
  scope: Cluster
{{- end }}

{{- define "sixgate.validate.rules" -}}
- apiGroups:
  - ""
  apiVersions:
  - v1
  operations:
  - CREATE
  - UPDATE
  resources:
  - configmaps
  - pods
  - podtemplates
  - replicationcontrollers
  - services
  scope: Namespaced
- apiGroups:
  - ""
  apiVersions:
  - v1
  operations:
  - CREATE
  - UPDATE
  resources:
  - namespaces
  - persistentvolumes
  scope: Cluster
- apiGroups:
  - apps
  apiVersions:
  - v1
  operations:
  - CREATE
  - UPDATE
  resources:
  - daemonsets
  - deployments
  - replicasets
  - statefulsets
  scope: Namespaced
- apiGroups:
  - batch
  apiVersions:
  - v1
  operations:
  - CREATE
  - UPDATE
  resources:
  - cronjobs
  - jobs
  scope: Namespaced
- apiGroups:
  - cilium.io
  apiVersions:
  - v2
  operations:
  - CREATE
  - UPDATE
  resources:
  - ciliumnetworkpolicies
  scope: Namespaced
- apiGroups:
  - cilium.io
  apiVersions:
  - v2
  operations:
  - CREATE
  - UPDATE
  resources:
  - ciliumclusterwidenetworkpolicies
  scope: Cluster
- apiGroups:
  - crd.projectcalico.org
  apiVersions:
  - v1
  operations:
  - CREATE
  - UPDATE
  resources:
  - networkpolicies
  - networksets
  scope: Namespaced
- apiGroups:
  - crd.projectcalico.org
  apiVersions:
  - v1
  operations:
  - CREATE
  - UPDATE
  resources:
  - globalnetworkpolicies
  - globalnetworksets
  scope: Cluster
- apiGroups:
  - gateway.networking.k8s.io
  apiVersions:
  - v1
  operations:
  - CREATE
  - UPDATE
  resources:
  - gateways
  scope: Namespaced
- apiGroups:
  - helm.cattle.io
  apiVersions:
  - v1
  operations:
  - CREATE
  - UPDATE
  resources:
  - helmchartconfigs
  - helmcharts
  scope: Namespaced
- apiGroups:
  - k8s.nginx.org
  apiVersions:
  - v1
  operations:
  - CREATE
  - UPDATE
  resources:
  - policies
  scope: Namespaced
- apiGroups:
  - networking.k8s.io
  apiVersions:
  - v1
  operations:
  - CREATE
  - UPDATE
  resources:
  - ingresses
  - networkpolicies
  scope: Namespaced
- apiGroups:
  - projectcalico.org
  apiVersions:
  - v3
  operations:
  - CREATE
  - UPDATE
  resources:
  - networkpolicies
  - networksets
  scope: Namespaced
- apiGroups:
  - projectcalico.org
  apiVersions:
  - v3
  operations:
  - CREATE
  - UPDATE
  resources:
  - globalnetworkpolicies
  - globalnetworksets
  scope: Cluster
- apiGroups:
  - storage.k8s.io
  apiVersions:
  - v1
  operations:
  - CREATE
  - UPDATE
  resources:
  - storageclasses
  scope: Cluster
- apiGroups:
  - traefik.containo.us
  apiVersions:
  - v1alpha1
  operations:
  - CREATE
  - UPDATE
  resources:
  - middlewares
  - middlewaretcps
  scope: Namespaced
- apiGroups:
  - traefik.io
  apiVersions:
  - v1alpha1
  operations:
  - CREATE
  - UPDATE
  resources:
  - middlewares
  - middlewaretcps
  scope: Namespaced
{{- end }}

{{- define "sixgate.mutate.conditions" -}}
- expression: '!(has(object.metadata.annotations) && ''kubernetes.io/config.mirror''
    in object.metadata.annotations)'
  name: not-a-mirror-pod
- expression: '!(request.kind.kind == ''ConfigMap'' && request.name == ''kube-root-ca.crt'')'
  name: not-a-root-ca
{{- end }}

{{- define "sixgate.validate.conditions" -}}
- expression: '!(has(object.metadata.annotations) && ''kubernetes.io/config.mirror''
    in object.metadata.annotations)'
  name: not-a-mirror-pod
- expression: '!(request.kind.kind == ''ConfigMap'' && request.name == ''kube-root-ca.crt'')'
  name: not-a-root-ca
- expression: '!has(object.metadata.deletionTimestamp)'
  name: not-being-deleted
{{- end }}

{{- define "sixgate.secrets.rule" -}}
- apiGroups:
  - ""
  apiVersions:
  - v1
  operations:
  - CREATE
  - UPDATE
  resources:
  - secrets
  scope: Namespaced
{{- end }}

{{- define "sixgate.configmaps.rule" -}}
- apiGroups:
  - ""
  apiVersions:
  - v1
  operations:
  - CREATE
  - UPDATE
  resources:
  - configmaps
  scope: Namespaced
{{- end }}

{{- define "sixgate.repairsConfigMaps" -}}
- listen-nginx
- listen-apache
- listen-haproxy
- listen-envoy
- listen-proxy
- listen-php
- listen-python-server
- listen-ruby-server
- listen-node
- listen-rust
- listen-dotnet
- listen-java
- listen-go
- listen-redis
- listen-postgresql
- listen-mysql
- listen-mongodb
- listen-memcached
- listen-clickhouse
- listen-message-broker
- listen-mail
- listen-dns
- listen-daemon
- listen-ceph
- listen-matrix
- listen-collabora
- listen-log-collector
- listen-kubernetes-component
- listen-wildcard
{{- end }}

{{- define "sixgate.rbac.cluster" -}}
- apiGroups:
  - networking.k8s.io
  resourceNames:
  - kubernetes
  resources:
  - servicecidrs
  verbs:
  - get
- apiGroups:
  - ""
  resourceNames:
  - kubernetes
  resources:
  - services
  verbs:
  - get
{{- end }}

{{- define "sixgate.rbac.events" -}}
- apiGroups:
  - events.k8s.io
  resources:
  - events
  verbs:
  - create
  - patch
{{- end }}

{{- define "sixgate.rbac.audit" -}}
- apiGroups:
  - ""
  resources:
  - configmaps
  - endpoints
  - namespaces
  - persistentvolumes
  - pods
  - podtemplates
  - replicationcontrollers
  - services
  verbs:
  - list
- apiGroups:
  - admissionregistration.k8s.io
  resources:
  - mutatingwebhookconfigurations
  - validatingwebhookconfigurations
  verbs:
  - list
- apiGroups:
  - apiextensions.k8s.io
  resources:
  - customresourcedefinitions
  verbs:
  - list
- apiGroups:
  - apiregistration.k8s.io
  resources:
  - apiservices
  verbs:
  - list
- apiGroups:
  - apps
  resources:
  - daemonsets
  - deployments
  - replicasets
  - statefulsets
  verbs:
  - list
- apiGroups:
  - batch
  resources:
  - cronjobs
  - jobs
  verbs:
  - list
- apiGroups:
  - ceph.rook.io
  resources:
  - cephclusters
  verbs:
  - list
- apiGroups:
  - cilium.io
  resources:
  - ciliumclusterwidenetworkpolicies
  - ciliumnetworkpolicies
  verbs:
  - list
- apiGroups:
  - crd.projectcalico.org
  resources:
  - bgpconfigurations
  - bgppeers
  - felixconfigurations
  - globalnetworkpolicies
  - globalnetworksets
  - ippools
  - networkpolicies
  - networksets
  verbs:
  - list
- apiGroups:
  - discovery.k8s.io
  resources:
  - endpointslices
  verbs:
  - list
- apiGroups:
  - gateway.networking.k8s.io
  resources:
  - gateways
  verbs:
  - list
- apiGroups:
  - helm.cattle.io
  resources:
  - helmchartconfigs
  - helmcharts
  verbs:
  - list
- apiGroups:
  - k8s.nginx.org
  resources:
  - policies
  verbs:
  - list
- apiGroups:
  - metallb.io
  resources:
  - addresspools
  - bgppeers
  - ipaddresspools
  verbs:
  - list
- apiGroups:
  - networking.k8s.io
  resources:
  - ingresses
  - networkpolicies
  verbs:
  - list
- apiGroups:
  - operator.tigera.io
  resources:
  - installations
  verbs:
  - list
- apiGroups:
  - projectcalico.org
  resources:
  - bgpconfigurations
  - bgppeers
  - felixconfigurations
  - globalnetworkpolicies
  - globalnetworksets
  - ippools
  - networkpolicies
  - networksets
  verbs:
  - list
- apiGroups:
  - storage.k8s.io
  resources:
  - storageclasses
  verbs:
  - list
- apiGroups:
  - traefik.containo.us
  resources:
  - middlewares
  - middlewaretcps
  verbs:
  - list
- apiGroups:
  - traefik.io
  resources:
  - middlewares
  - middlewaretcps
  verbs:
  - list
{{- end }}

{{- define "sixgate.rbac.reports" -}}
- apiGroups:
  - openreports.io
  resources:
  - clusterreports
  - reports
  verbs:
  - list
  - create
  - patch
  - delete
- apiGroups:
  - wgpolicyk8s.io
  resources:
  - clusterpolicyreports
  - policyreports
  verbs:
  - list
  - create
  - patch
  - delete
{{- end }}

{{- define "sixgate.rbac.registrations" -}}
- apiGroups:
  - admissionregistration.k8s.io
  resourceNames:
  - sixgate
  resources:
  - mutatingwebhookconfigurations
  - validatingwebhookconfigurations
  verbs:
  - get
  - patch
{{- end }}

{{- define "sixgate.rbac.namespace" -}}
- apiGroups:
  - ""
  resourceNames:
  - sixgate-webhook-ca
  resources:
  - secrets
  verbs:
  - get
  - update
{{- end }}

{{- define "sixgate.rbac.check" -}}
- apiGroups:
  - ""
  resources:
  - configmaps
  verbs:
  - create
{{- end }}
