"""Wire formats of the LangGraph Agent Server: pure functions and values, without database or network."""
