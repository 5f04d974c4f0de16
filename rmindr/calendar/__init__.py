"""Reminders as a calendar has them (RFC 5545): one file to import, a feed to subscribe to, all of it to take along.

    document(events(reminders, serieses, "https://remind.example.org"), "Reminders", years=(2026, 2027))

An event is the instant at which a reminder is due, and takes no time; it carries no alarm, for the mail is the alarm.
"""

from rmindr.calendar.events import Event, events
from rmindr.calendar.file import CLOSING, TYPE, body, document, opening
from rmindr.calendar.zones import known

__all__ = ["CLOSING", "TYPE", "Event", "body", "document", "events", "known", "opening"]
