"""What known datasets look like: recipes, how they are read and listed, and the scan that recognises or drafts them."""
