"""The upload event: every change of a photo ends as one result, one coded error, or none of both."""
