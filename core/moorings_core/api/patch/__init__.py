"""The patch languages of the API: RFC 6902 JSON patch, RFC 7386 merge patch, and Kubernetes' strategic merge patch.

Pure functions from a document and a patch to a new document; neither argument is ever changed. Errors are `PatchError`.
"""

from .errors import PatchDoesNotFit, PatchError
from .json_patch import apply as json_patch
from .merge_patch import apply as merge_patch
from .strategic import apply as strategic_patch

__all__ = ["PatchDoesNotFit", "PatchError", "json_patch", "merge_patch", "strategic_patch"]
