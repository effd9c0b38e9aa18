"""What happens when a sample cannot be used: a stand-in, a budget, a journal."""
