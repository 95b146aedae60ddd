"""Sends HTTP requests with urllib3: proxies, connections, deadlines and repetitions."""
