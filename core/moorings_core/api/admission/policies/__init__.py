"""Validating and mutating admission policies: rules as expressions (CEL), kept in the cluster, evaluated here.

`configured` are the policies with their bindings, `parameters` what bindings give them, `rules` what they compute,
`validating` and `mutating` what follows from it. Source: apiserver pkg/admission/plugin/policy.
"""

from .dispatch import Policies

__all__ = ["Policies"]
