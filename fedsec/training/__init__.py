"""One client's local work, and the server's evaluation."""
