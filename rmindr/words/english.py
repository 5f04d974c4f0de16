"""English time words."""

from __future__ import annotations

from typing import Final

from rmindr.words.language import Language, PartOfDay, Unit

_WEEKDAYS: Final = {
    **dict.fromkeys(("monday", "mon"), 0),
    **dict.fromkeys(("tuesday", "tue", "tues"), 1),
    **dict.fromkeys(("wednesday", "wed", "weds"), 2),
    **dict.fromkeys(("thursday", "thu", "thur", "thurs"), 3),
    **dict.fromkeys(("friday", "fri"), 4),
    **dict.fromkeys(("saturday", "sat"), 5),
    **dict.fromkeys(("sunday", "sun"), 6),
}
_MONTHS: Final = (
    *("january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug"),
    *("september sep sept", "october oct", "november nov", "december dec"),
)
_ONES: Final = "one two three four five six seven eight nine ten eleven twelve"
_ORDINALS: Final = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_NO_TIME: Final = "names no time"
_TOO_OFTEN: Final = "is too often: the shortest distance is a day"

ENGLISH: Final = Language(
    roles={
        role: frozenset(words.split())
        for role, words in {
            "article": "a an",
            "at": "at @",
            "on": "on",
            "in": "in",
            "of": "of",
            "and": "and &",
            "the": "the",
            "this": "this",
            "next": "next",
            "last": "last",
            "coming": "coming",
            "every": "every each",
            "other": "other",
            "from": "from",
            "after": "after",
            "before": "before",
            "until": "until till through",
            "for": "for",
            "times": "times",
            "starting": "starting beginning",
            "completion": "completion",
            "now": "now",
            "ago": "ago",
            "today": "today",
            "tomorrow": "tomorrow tmrw",
            "yesterday": "yesterday",
            "tonight": "tonight",
            "day": "day",
            "days": "days",
            "week": "week",
            "month": "month",
            "year": "year",
            "workday": "weekday workday",
            "weekend": "weekend",
            "half": "half",
            "quarter": "quarter",
            "past": "past",
            "to": "to",
            "range": "to - –",
            "minutes": "minutes minute",
            "hour": "hour hours h hr hrs",
            "oclock": "o'clock oclock",
            "noon": "noon midday",
            "midnight": "midnight",
            "am": "am a.m. a.m",
            "pm": "pm p.m. p.m",
            "time": "time",
            "local": "local my",
            "utc": "utc gmt",
        }.items()
    },
    numbers={word: number for number, word in enumerate(_ONES.split(), 1)}
    | {"fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "ninety": 90},
    tens={"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50},
    ordinals={word: number for number, word in enumerate(_ORDINALS.split(), 1)} | {"last": -1},
    endings=tuple("th" if n // 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th") for n in range(100)),
    units={
        **dict.fromkeys(("second", "seconds", "sec", "secs", "s"), Unit(seconds=1)),
        **dict.fromkeys(("minute", "minutes", "min", "mins"), Unit(seconds=60)),
        **dict.fromkeys(("hour", "hours", "h", "hr", "hrs"), Unit(seconds=3600)),
        **dict.fromkeys(("day", "days", "d"), Unit(days=1)),
        **dict.fromkeys(("week", "weeks", "w"), Unit(days=7)),
        **dict.fromkeys(("fortnight", "fortnights"), Unit(days=14)),
        **dict.fromkeys(("month", "months"), Unit(months=1)),
        **dict.fromkeys(("year", "years", "y"), Unit(months=12)),
    },
    single_units=frozenset(["second", "minute", "hour", "day", "week", "fortnight", "month", "year"]),
    doubtful_units={"m": ("minutes", "months")},
    weekdays=_WEEKDAYS,
    every_weekday={f"{word}s": (day,) for word, day in _WEEKDAYS.items() if word.endswith("day")}
    | {"weekdays": (0, 1, 2, 3, 4), "workdays": (0, 1, 2, 3, 4), "weekends": (5, 6)},
    months={word: number for number, words in enumerate(_MONTHS, 1) for word in words.split()},
    parts_of_day={
        "morning": PartOfDay(9, 0, 11),
        "afternoon": PartOfDay(15, 12, 18),
        "evening": PartOfDay(18, 16, 23),
        "night": PartOfDay(20, 18, 23),
    },
    repeats={
        "daily": (1, "day"),
        "everyday": (1, "day"),
        "weekly": (1, "week"),
        "fortnightly": (2, "week"),
        "monthly": (1, "month"),
        "yearly": (1, "year"),
        "annually": (1, "year"),
    },
    periods={
        **dict.fromkeys(("day", "days"), (1, "day")),
        **dict.fromkeys(("week", "weeks"), (1, "week")),
        **dict.fromkeys(("fortnight", "fortnights"), (2, "week")),
        **dict.fromkeys(("month", "months"), (1, "month")),
        **dict.fromkeys(("year", "years"), (1, "year")),
    },
    refused={
        **dict.fromkeys(["soon", "later", "asap", "sometime", "someday", "anytime", "eventually"], (_NO_TIME, ())),
        **dict.fromkeys(["around", "about", "roughly", "approximately", "eod", "eow", "cob", "while"], (_NO_TIME, ())),
        **dict.fromkeys(["few", "couple", "several", "some", "many"], ("leaves open how many", ())),
        **dict.fromkeys(["once", "twice", "thrice"], ("leaves open how often and when", ("every day", "every week"))),
        "yesterday": ("is in the past", ()),
        "now": ("is not in the future", ("in 1 minute",)),
        "weekend": ("leaves open which day", ("saturday", "sunday")),
        "end": ("is vague", ("last day",)),
        "before": ("leaves open how long before", ()),
        "hourly": (_TOO_OFTEN, ("daily",)),
        "quarterly": ("leaves open in which months", ("every 3 months on the 1st",)),
        "biweekly": ("is ambiguous: every 2 weeks, or twice a week", ("every 2 weeks",)),
        "bimonthly": ("is ambiguous: every 2 months, or twice a month", ("every 2 months",)),
    },
    doubtful_zones={
        **dict.fromkeys(("pst", "pdt", "pt", "pacific"), ("Los Angeles",)),
        **dict.fromkeys(("mst", "mdt", "mt", "mountain"), ("Denver",)),
        **dict.fromkeys(("cst", "cdt", "ct", "central"), ("Chicago", "Shanghai")),
        **dict.fromkeys(("est", "edt", "et", "eastern"), ("New York",)),
        **dict.fromkeys(("cet", "cest", "met"), ("Paris",)),
        **dict.fromkeys(("eet", "eest"), ("Athens",)),
        **dict.fromkeys(("wet", "west"), ("Lisbon",)),
        **dict.fromkeys(("aest", "aedt"), ("Sydney",)),
        "bst": ("London", "Dhaka"),
        "ist": ("Kolkata", "Jerusalem", "Dublin"),
        "msk": ("Moscow",),
        "jst": ("Tokyo",),
    },
    doubtful_cities={
        "san juan": "may be the one in Puerto Rico",
        **dict.fromkeys(("cordoba", "la rioja", "merida"), "may be the one in Spain"),
        "la paz": "may be the one in Mexico",
        "petersburg": "may be the one in Russia",
        "st johns": "may be the one in Antigua",
        "vincennes": "may be the one in France",
        **dict.fromkeys(
            ("casey", "davis", "johnston", "marengo", "monticello", "salta", "stanley"), "may be another place"
        ),
        **dict.fromkeys(("center", "knox", "norfolk", "palmer", "san luis", "santa isabel"), "may be another place"),
        **dict.fromkeys(("victoria", "act", "lhi", "nsw", "north", "south", "west"), "may be another place"),
        **dict.fromkeys(("christmas", "easter", "reunion"), "may be an occasion, which is not understood"),
        **dict.fromkeys(("midway", "oral", "resolute", "troll", "virgin", "wake"), "may be no place at all"),
    },
)
