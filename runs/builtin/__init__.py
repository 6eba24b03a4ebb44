"""The graph that comes with the server, and the model that it talks with when none is set up."""
