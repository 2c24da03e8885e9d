"""What makes a folder a good Hub repository: code, card, upload."""
