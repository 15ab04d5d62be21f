"""One child process per resident model, and the parent's end of it."""
