"""What clients of Anthropic's Messages API send and read."""
