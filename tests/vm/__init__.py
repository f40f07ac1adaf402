"""Tests that need another kernel: a small QEMU machine in software, on Debian's cloud kernel, with this machine's files under it."""
