"""The lab engine: nodes, switches and links in namespaces of one machine, faults, leak audit, and a pytest plugin.

May import core; no backend. Data: a cluster file in; namespaces, processes and a kubeconfig out.
"""
