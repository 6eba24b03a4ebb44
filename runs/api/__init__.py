"""The HTTP edge: who asks, what for, one call, the answer."""
