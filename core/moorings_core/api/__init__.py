"""The Kubernetes API over HTTPS and in process: transport, media types, the write path, watches, subresources."""
