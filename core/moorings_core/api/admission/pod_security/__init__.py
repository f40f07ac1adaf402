"""PodSecurity: which pods a namespace lets in, by the levels of the Pod Security Standards.

`levels` says which level a namespace asks for, `checks` and `containers` what a level forbids, `plugin` when it is asked.
Source: k8s.io/pod-security-admission.
"""

from .plugin import VALIDATE

__all__ = ["VALIDATE"]
