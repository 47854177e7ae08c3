"""What the Lambda functions share and nobody else needs."""
