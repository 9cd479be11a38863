"""What the commands do that need no worker: show records, check connections, bring logs in."""
