"""The synchronous API on loopback: the Lambda handler behind a small gateway, for developers and tests."""
