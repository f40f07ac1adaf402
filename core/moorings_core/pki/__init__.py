"""Certificate authority, certificates, service-account keys, kubeconfig files."""
