"""Devices, hosts, memory, compiled programs."""
