"""The synchronous API: a photo in, its faces out."""
