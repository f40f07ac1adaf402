"""Stores behind `ports.store`: sqlite (default, durable) and memory (tests). An entry point names an async factory
`open(directory, parameters) -> Store`. Nothing here knows Kubernetes: keys and bytes come in, revisions and events go out.
"""
