"""Uploads and durable jobs at an edge, which is Pare's Cloudflare Worker in front of GPU hosts."""
