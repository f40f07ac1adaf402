"""The node agent (what the kubelet does): pod lifecycle, probes, volumes, streams, status, lease."""
