"""Mail: what a letter says (letters.py), and how it leaves (smtp.py)."""
