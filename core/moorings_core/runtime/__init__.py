"""Container runtimes behind `ports.runtime`: cri (containerd, CRI-O)."""
