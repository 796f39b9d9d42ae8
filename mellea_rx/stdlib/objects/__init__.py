"""Objects in prompts: the description that a model sees, and the methods that it may call."""
