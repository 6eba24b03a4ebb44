"""The engine: the child process in which graphs run. Whatever a graph does, it costs an engine at most."""
