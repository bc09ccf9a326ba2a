"""Files that people add to a chat: checked, prepared, stored, handed out and removed."""
