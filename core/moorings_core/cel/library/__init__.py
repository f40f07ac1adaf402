"""Kubernetes' functions in CEL, one module per library of upstream's. Importing this package declares them all."""

from . import addresses, authorization, formats, lists, quantities, strings, urls, versions

__all__ = ["addresses", "authorization", "formats", "lists", "quantities", "strings", "urls", "versions"]
