"""Volumes of pods: what a container's mounts point to on the node.

`payload` (pure) makes files of ConfigMaps, Secrets, tokens and fields; `atomic` writes them so that readers see the old set or the
new; `manager` sets up, refreshes and takes down every kind. CSI volumes are `agent.csi`'s. Below ROOT/pods/UID/volumes/.
"""
