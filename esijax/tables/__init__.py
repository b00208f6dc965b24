"""What an estimate says in rows: its places."""
