"""A fake upstream of all four dialects."""
