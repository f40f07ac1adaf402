"""Server-side apply: who manages which field, merging an applied configuration, conflicts. Pure.

`fields` are sets of field paths and their FieldsV1 form, `merge` puts a configuration into an object and takes fields out,
`managers` keeps metadata.managedFields. Source: KEP-555; sigs.k8s.io/structured-merge-diff.
"""
