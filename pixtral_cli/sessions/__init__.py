"""Conversations on disk: the session database, one conversation's saving, repair, export."""
