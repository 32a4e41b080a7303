"""What a node can be told: one module per group of settings, and what they have in common.

Settings are plain data (`dict[str, object]` of tables, lists, text, numbers
and booleans; never None, an unset key is absent). `groups.Groups` says which
of them are right; nothing here reads or writes files.
"""
