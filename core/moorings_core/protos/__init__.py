"""CRI, CSI and plugin-registration messages, written from the specifications' field numbers, and their generated modules."""
