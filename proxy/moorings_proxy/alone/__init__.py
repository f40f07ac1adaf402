"""`moorings proxy`: a proxy backend in place of kube-proxy, on any Kubernetes control plane. Metrics and health checks are kube-proxy's."""
