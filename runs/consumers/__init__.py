"""The WebSocket of a thread: who speaks on it (`thread`), how its commands wait (`inbox`) and are done (`commands`)."""
