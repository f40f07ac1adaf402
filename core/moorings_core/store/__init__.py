"""Stores behind `ports.store`: sqlite (default, durable) and memory (tests)."""
