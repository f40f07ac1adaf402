"""Annotations that only the server writes."""

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
"""How often the template of a DaemonSet has changed: a field of upstream's internal form"""
