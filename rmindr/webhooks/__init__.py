"""Programs that are told what becomes of a person's reminders (Standard Webhooks 1.0): at least once, signed, and only outside.

outbox.py     an event is written in the transaction in which its reminder ends
calling.py    it is on its way, by a job of its own, until it is taken or given up
places.py     which addresses may be called: none that is not open to everybody, unless a setting names it
post.py       one call, to the very address that was checked
keeping.py    a person's webhooks: made, tried, ended
"""
