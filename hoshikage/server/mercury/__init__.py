"""What clients of Mercury send and read, where it is not what OpenAI's do. Its chat is OpenAI's, with `diffusing`."""
