"""HTTP/1.1 on asyncio: bytes to requests, responses to bytes; keep-alive, chunks, limits, back-pressure, and a socket handed over
for upgrades. Knows nothing of Kubernetes; a request handler comes in, connections are served.
"""
