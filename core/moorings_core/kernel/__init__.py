"""The only room that speaks to the kernel: rtnetlink, nftables batches, conntrack, namespaces, mounts, loops."""
