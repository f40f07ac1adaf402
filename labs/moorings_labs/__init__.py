"""The lab engine: nodes, switches and links in namespaces of one machine, faults, leak audit, and a pytest plugin.

    engine > network (namespaces and links), nodes (PID 1 and its children), pki, images > layout (names and paths)

Imports core, no backend. A cluster file comes in; namespaces, processes and a kubeconfig go out. Every name of a lab carries its
id, so that taking one down touches nothing else.
"""
