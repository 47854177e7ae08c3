"""Bulk jobs over the API: who may start them, where they run, how far they are."""
