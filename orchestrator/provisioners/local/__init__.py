"""Replicas as real engine processes on this machine's loopback interface."""
