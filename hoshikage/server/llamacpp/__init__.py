"""What llama-server's clients send and read: editors, chat pages with buttons for models, and scripts."""
