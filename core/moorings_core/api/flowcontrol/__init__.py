"""API Priority and Fairness: who shares the server's capacity with whom, and who waits.

`rules` tells what a request belongs to, `fairness` lets the flows of a level take turns, `control` follows the objects and puts requests
through. Source: KEP-1040; flowcontrol.apiserver.k8s.io/v1; apiserver pkg/util/flowcontrol.
"""
