"""The whole system on sample photos: an upload, an API call and a bulk job, without an account."""
