"""Where weights come from: names, download, verification, removal. Never opens a tensor."""
