"""Custom resources: from a CustomResourceDefinition to kinds of the registry. Pure.

`definition` checks and defaults definitions, `structural` their schemas; `kind` makes the kinds; `schema` compiles a schema to the nodes
that patches, apply and strict decoding read; `shape` prunes and defaults, `values` validates, `rules` runs the CEL rules, `columns`
prints, `status` tells which names are accepted. Source: apiextensions.k8s.io/v1; k8s.io/apiextensions-apiserver.
"""
