"""Certificates (`authority`), service-account tokens (`tokens`) and kubeconfig files (`kubeconfig`).

Nothing here opens a connection or decides who may do what. Keys come from and go to files that only their owner can read.
"""
