"""What people write, and what it must be read as: the table that was there before the parser.

Said on Tuesday 24 November 2026 at 10:15 in Paris (UTC+1). The rules behind the table are those in `rmindr/words`:

- a clock with am, pm, a leading zero, or from 12:00 on is exact; without, 7 to 11 is the morning, and 1 to 6 is refused,
  for it may be the afternoon; a part of the day («in the evening») settles it;
- a day without a clock is 09:00, its morning 09:00, afternoon 15:00, evening 18:00, night 20:00, and the answer says so;
- a clock without a day is the next time that it comes;
- a weekday is the next one to come; on that very day it is refused unless the clock has passed;
- «next friday» is read where all agree on it, and refused where it may be this week's or next week's;
- what the calendar or the clocks make ambiguous is refused, and both readings are named.
"""

from __future__ import annotations

from typing import Final

# phrase | the time on the clock, and the zone where it is not Paris | the rule where it repeats
READ: Final = """
# Lengths of time: hours and less are exact, days and more keep the clock
in 2h                                         | 2026-11-24 12:15
in 2 h                                        | 2026-11-24 12:15
in 2 hours                                    | 2026-11-24 12:15
in two hours                                  | 2026-11-24 12:15
in 2 hrs                                      | 2026-11-24 12:15
in 1 hour                                     | 2026-11-24 11:15
in an hour                                    | 2026-11-24 11:15
in one hour                                   | 2026-11-24 11:15
in 1 hour 30 minutes                          | 2026-11-24 11:45
in 1 hour and 30 minutes                      | 2026-11-24 11:45
in 1 hour, 30 minutes                         | 2026-11-24 11:45
in 1h30m                                      | 2026-11-24 11:45
in 1h30                                       | 2026-11-24 11:45
in 1h 30min                                   | 2026-11-24 11:45
in 90 minutes                                 | 2026-11-24 11:45
in 90 min                                     | 2026-11-24 11:45
in 90min                                      | 2026-11-24 11:45
in 90 mins                                    | 2026-11-24 11:45
in half an hour                               | 2026-11-24 10:45
in an hour and a half                         | 2026-11-24 11:45
in 1.5 hours                                  | 2026-11-24 11:45
in 1.5h                                       | 2026-11-24 11:45
in 0.5 hours                                  | 2026-11-24 10:45
in two and a half hours                       | 2026-11-24 12:45
in 2 and a half hours                         | 2026-11-24 12:45
in a quarter of an hour                       | 2026-11-24 10:30
in 1h 1m 1s                                   | 2026-11-24 11:16:01
in 90s                                        | 2026-11-24 10:16:30
in 45 seconds                                 | 2026-11-24 10:15:45
in 10 minutes                                 | 2026-11-24 10:25
in ten minutes                                | 2026-11-24 10:25
in forty-five minutes                         | 2026-11-24 11:00
in twenty five minutes                        | 2026-11-24 10:40
in a minute                                   | 2026-11-24 10:16
10 minutes                                    | 2026-11-24 10:25
2h                                            | 2026-11-24 12:15
2 hours from now                              | 2026-11-24 12:15
half an hour from now                         | 2026-11-24 10:45
in a day                                      | 2026-11-25 10:15
in 3 days                                     | 2026-11-27 10:15
in three days                                 | 2026-11-27 10:15
in 3d                                         | 2026-11-27 10:15
in a week                                     | 2026-12-01 10:15
in 2 weeks                                    | 2026-12-08 10:15
in 2w                                         | 2026-12-08 10:15
in a fortnight                                | 2026-12-08 10:15
in a month                                    | 2026-12-24 10:15
in 3 months                                   | 2027-02-24 10:15
in a year                                     | 2027-11-24 10:15
in 9 years                                    | 2035-11-24 10:15
in 1 week and 2 days                          | 2026-12-03 10:15
in 2 days 3 hours                             | 2026-11-26 13:15
in 1 year 2 months                            | 2028-01-24 10:15
in 2 days at 9am                              | 2026-11-26 09:00
in 3 days 9am                                 | 2026-11-27 09:00
9am in 3 days                                 | 2026-11-27 09:00
in a week at noon                             | 2026-12-01 12:00
in a month at 9:00                            | 2026-12-24 09:00
in 2 weeks in the evening                     | 2026-12-08 18:00
2 weeks from now                              | 2026-12-08 10:15
3 days from now at 18:00                      | 2026-11-27 18:00
2 days after tomorrow                         | 2026-11-27 09:00
2 days from tomorrow 9am                      | 2026-11-27 09:00
a week from tomorrow at noon                  | 2026-12-02 12:00
a week from today 9am                         | 2026-12-01 09:00
a week from friday                            | 2026-12-04 09:00
a week after friday noon                      | 2026-12-04 12:00
2 weeks from monday 9:00                      | 2026-12-14 09:00
3 days before 1 march 2027 9am                | 2027-02-26 09:00
a day before 25 december 18:00                | 2026-12-24 18:00
two days before friday 17:00                  | 2026-11-25 17:00
1 month after 15 january 2027                 | 2027-02-15 09:00

# Days
today 18:00                                   | 2026-11-24 18:00
today at 6pm                                  | 2026-11-24 18:00
today noon                                    | 2026-11-24 12:00
noon today                                    | 2026-11-24 12:00
tonight                                       | 2026-11-24 20:00
tonight at 8                                  | 2026-11-24 20:00
tonight at 9:30                               | 2026-11-24 21:30
at 8 tonight                                  | 2026-11-24 20:00
this evening                                  | 2026-11-24 18:00
this evening at 7                             | 2026-11-24 19:00
this afternoon                                | 2026-11-24 15:00
this afternoon at 4                           | 2026-11-24 16:00
tomorrow                                      | 2026-11-25 09:00
tomorrow 9am                                  | 2026-11-25 09:00
tomorrow at 9am                               | 2026-11-25 09:00
tomorrow at 9                                 | 2026-11-25 09:00
tomorrow at 8                                 | 2026-11-25 08:00
tomorrow at 8am                               | 2026-11-25 08:00
tomorrow at 8pm                               | 2026-11-25 20:00
tomorrow 9:00                                 | 2026-11-25 09:00
tomorrow 09:00                                | 2026-11-25 09:00
tomorrow at 05:00                             | 2026-11-25 05:00
tomorrow 5am                                  | 2026-11-25 05:00
tomorrow at 17:30                             | 2026-11-25 17:30
tomorrow noon                                 | 2026-11-25 12:00
tomorrow at noon                              | 2026-11-25 12:00
tomorrow 12:05am                              | 2026-11-25 00:05
tomorrow 12pm                                 | 2026-11-25 12:00
tomorrow 00:00                                | 2026-11-25 00:00
tomorrow 24:00                                | 2026-11-26 00:00
tomorrow morning                              | 2026-11-25 09:00
tomorrow afternoon                            | 2026-11-25 15:00
tomorrow evening                              | 2026-11-25 18:00
tomorrow night                                | 2026-11-25 20:00
tomorrow morning at 7                         | 2026-11-25 07:00
tomorrow morning at 6                         | 2026-11-25 06:00
tomorrow at 6 in the morning                  | 2026-11-25 06:00
tomorrow evening at 8                         | 2026-11-25 20:00
tomorrow at 8 in the evening                  | 2026-11-25 20:00
tomorrow afternoon at 3                       | 2026-11-25 15:00
tomorrow 3 in the afternoon                   | 2026-11-25 15:00
tomorrow 3:30 in the afternoon                | 2026-11-25 15:30
tomorrow evening 20:30                        | 2026-11-25 20:30
tomorrow night at 10                          | 2026-11-25 22:00
tmrw 9am                                      | 2026-11-25 09:00
9am tomorrow                                  | 2026-11-25 09:00
at 9am tomorrow                               | 2026-11-25 09:00
9 am, tomorrow                                | 2026-11-25 09:00
noon tomorrow                                 | 2026-11-25 12:00
TOMORROW 9AM                                  | 2026-11-25 09:00
Tomorrow, 9am                                 | 2026-11-25 09:00
tomorrow @ 9am                                | 2026-11-25 09:00
tomorrow @9                                   | 2026-11-25 09:00
the day after tomorrow                        | 2026-11-26 09:00
day after tomorrow at 18:00                   | 2026-11-26 18:00
monday                                        | 2026-11-30 09:00
monday 9:00                                   | 2026-11-30 09:00
Mon 9am                                       | 2026-11-30 09:00
on monday at noon                             | 2026-11-30 12:00
monday morning                                | 2026-11-30 09:00
monday evening at 7                           | 2026-11-30 19:00
friday 17:00                                  | 2026-11-27 17:00
fri 5pm                                       | 2026-11-27 17:00
friday at half past 8                         | 2026-11-27 08:30
sunday 10:00                                  | 2026-11-29 10:00
sat 10am                                      | 2026-11-28 10:00
wed 9am                                       | 2026-11-25 09:00
thurs 9am                                     | 2026-11-26 09:00
thu 9am                                       | 2026-11-26 09:00
tues 9am                                      | 2026-12-01 09:00
tuesday 09:00                                 | 2026-12-01 09:00
next monday 9:00                              | 2026-11-30 09:00
next tuesday noon                             | 2026-12-01 12:00
this friday noon                              | 2026-11-27 12:00
this friday                                   | 2026-11-27 09:00
this sunday 18:00                             | 2026-11-29 18:00
this tuesday 18:00                            | 2026-11-24 18:00
coming friday 9am                             | 2026-11-27 09:00
this coming friday                            | 2026-11-27 09:00
friday week 9am                               | 2026-12-04 09:00
monday next week 9am                          | 2026-11-30 09:00
next week monday 9am                          | 2026-11-30 09:00
next week on friday at noon                   | 2026-12-04 12:00
friday next week                              | 2026-12-04 09:00
friday of next week at 18:00                  | 2026-12-04 18:00
friday this week 9am                          | 2026-11-27 09:00

# Dates
1 March 2031 18:00                            | 2031-03-01 18:00
1 march 2031 at 18:00                         | 2031-03-01 18:00
18:00 1 march 2031                            | 2031-03-01 18:00
18:00 on 1 march 2031                         | 2031-03-01 18:00
March 1 2031 18:00                            | 2031-03-01 18:00
March 1, 2031 at 6pm                          | 2031-03-01 18:00
march 1st                                     | 2027-03-01 09:00
march 1st 18:00                               | 2027-03-01 18:00
march 1st 2028                                | 2028-03-01 09:00
march the 1st                                 | 2027-03-01 09:00
1st march                                     | 2027-03-01 09:00
1st of march                                  | 2027-03-01 09:00
the 1st of march                              | 2027-03-01 09:00
on the 1st of march 2027 at noon              | 2027-03-01 12:00
1 march                                       | 2027-03-01 09:00
mar 1                                         | 2027-03-01 09:00
1 mar 2027 noon                               | 2027-03-01 12:00
24 december                                   | 2026-12-24 09:00
24 december in the evening                    | 2026-12-24 18:00
25 dec 18:00                                  | 2026-12-25 18:00
31 december 23:59                             | 2026-12-31 23:59
24 november 18:00                             | 2026-11-24 18:00
24 november 24:00                             | 2026-11-25 00:00
24 november 9am                               | 2027-11-24 09:00
24 november 2027                              | 2027-11-24 09:00
23 november                                   | 2027-11-23 09:00
feb 29                                        | 2028-02-29 09:00
29 february 2028 noon                         | 2028-02-29 12:00
2031-03-01 18:00                              | 2031-03-01 18:00
2031-03-01 at 18:00                           | 2031-03-01 18:00
2031-03-01 6pm                                | 2031-03-01 18:00
2031-03-01                                    | 2031-03-01 09:00
2027-02-28 noon                               | 2027-02-28 12:00
2031-03-01T18:00                              | 2031-03-01 18:00
2031-03-01T18:00Z                             | 2031-03-01 19:00
2031-03-01T18:00:00+02:00                     | 2031-03-01 17:00
2027/03/04 09:00                              | 2027-03-04 09:00
13/4/2027                                     | 2027-04-13 09:00
4/13/2027 6pm                                 | 2027-04-13 18:00
13.4.2027 18:00                               | 2027-04-13 18:00
3/3/2027                                      | 2027-03-03 09:00
the 15th                                      | 2026-12-15 09:00
on the 15th at 9:00                           | 2026-12-15 09:00
the 30th 18:00                                | 2026-11-30 18:00
the 31st                                      | 2026-12-31 09:00
1st at noon                                   | 2026-12-01 12:00
the 24th 9am                                  | 2026-12-24 09:00
15th of next month                            | 2026-12-15 09:00
the 1st of next month 9am                     | 2026-12-01 09:00
30th of this month noon                       | 2026-11-30 12:00
first monday of march 2027                    | 2027-03-01 09:00
first monday in march 9am                     | 2027-03-01 09:00
the last friday of this month 17:00           | 2026-11-27 17:00
first monday of next month 9am                | 2026-12-07 09:00
3rd friday of next month                      | 2026-12-18 09:00
last friday of december                       | 2026-12-25 09:00
third thursday of january 10:00               | 2027-01-21 10:00
last day of this month                        | 2026-11-30 09:00
1st day of next month 9am                     | 2026-12-01 09:00
last weekday of next month 16:00              | 2026-12-31 16:00
last day of february 2028 noon                | 2028-02-29 12:00
friday 4 december 2026 9am                    | 2026-12-04 09:00
Friday, 4 December                            | 2026-12-04 09:00
fri 4 dec 2026 18:00                          | 2026-12-04 18:00
friday 2026-12-04 18:00                       | 2026-12-04 18:00
Friday the 4th of December at noon            | 2026-12-04 12:00

the fifth of may                              | 2027-05-05 09:00
the coming friday at noon                     | 2026-11-27 12:00
on the monday 9am                             | 2026-11-30 09:00

# Times of day
9am                                           | 2026-11-25 09:00
09:00                                         | 2026-11-25 09:00
11am                                          | 2026-11-24 11:00
at 11                                         | 2026-11-24 11:00
11:00                                         | 2026-11-24 11:00
at 11 o'clock                                 | 2026-11-24 11:00
11 o’clock                                    | 2026-11-24 11:00
noon                                          | 2026-11-24 12:00
at noon                                       | 2026-11-24 12:00
midday                                        | 2026-11-24 12:00
12pm                                          | 2026-11-24 12:00
12:00                                         | 2026-11-24 12:00
12:30                                         | 2026-11-24 12:30
midnight                                      | 2026-11-25 00:00
at midnight                                   | 2026-11-25 00:00
midnight today                                | 2026-11-25 00:00
tonight at midnight                           | 2026-11-25 00:00
midnight tonight                              | 2026-11-25 00:00
friday night at midnight                      | 2026-11-28 00:00
12am                                          | 2026-11-25 00:00
00:30                                         | 2026-11-25 00:30
12:30 am                                      | 2026-11-25 00:30
today 24:00                                   | 2026-11-25 00:00
8:15 pm                                       | 2026-11-24 20:15
8:15pm                                        | 2026-11-24 20:15
8.15pm                                        | 2026-11-24 20:15
20:15                                         | 2026-11-24 20:15
at 20:15                                      | 2026-11-24 20:15
6pm                                           | 2026-11-24 18:00
6 pm                                          | 2026-11-24 18:00
6PM                                           | 2026-11-24 18:00
6 p.m.                                        | 2026-11-24 18:00
6:00 p.m.                                     | 2026-11-24 18:00
@ 6pm                                         | 2026-11-24 18:00
six pm                                        | 2026-11-24 18:00
18:00:30                                      | 2026-11-24 18:00:30
23:59                                         | 2026-11-24 23:59
half past 11                                  | 2026-11-24 11:30
half past eleven                              | 2026-11-24 11:30
quarter past 11                               | 2026-11-24 11:15
a quarter past 11                             | 2026-11-24 11:15
quarter to 12                                 | 2026-11-24 11:45
ten to eleven                                 | 2026-11-24 10:50
5 past 11                                     | 2026-11-24 11:05
20 minutes past 11                            | 2026-11-24 11:20
twenty past 11                                | 2026-11-24 11:20
half past 8 pm                                | 2026-11-24 20:30
half past 8 in the evening                    | 2026-11-24 20:30
tomorrow at half past noon                    | 2026-11-25 12:30
8 in the evening                              | 2026-11-24 20:00
9 in the morning                              | 2026-11-25 09:00
7 in the evening tomorrow                     | 2026-11-25 19:00
10 at night                                   | 2026-11-24 22:00

# Other people's clocks
9am New York                                  | 2026-11-24 09:00 America/New_York
9am in New York                               | 2026-11-24 09:00 America/New_York
9am new york time                             | 2026-11-24 09:00 America/New_York
9am America/New_York                          | 2026-11-24 09:00 America/New_York
tomorrow 9am New York                         | 2026-11-25 09:00 America/New_York
in New York tomorrow 9am                      | 2026-11-25 09:00 America/New_York
18:00 UTC                                     | 2026-11-24 18:00 UTC
18:00 gmt                                     | 2026-11-24 18:00 UTC
tomorrow 9am Europe/London                    | 2026-11-25 09:00 Europe/London
9am tokyo                                     | 2026-11-25 09:00 Asia/Tokyo
9am Tokyo time                                | 2026-11-25 09:00 Asia/Tokyo
1 March 2031 18:00 Los Angeles                | 2031-03-01 18:00 America/Los_Angeles
friday noon sydney                            | 2026-11-27 12:00 Australia/Sydney
friday noon são paulo                         | 2026-11-27 12:00 America/Sao_Paulo
friday noon Sao Paulo                         | 2026-11-27 12:00 America/Sao_Paulo
friday noon Port-au-Prince                    | 2026-11-27 12:00 America/Port-au-Prince
friday noon Asia/Calcutta                     | 2026-11-27 12:00 Asia/Calcutta
friday noon kolkata                           | 2026-11-27 12:00 Asia/Kolkata
friday noon Buenos Aires                      | 2026-11-27 12:00 America/Argentina/Buenos_Aires
friday noon America/Argentina/San_Juan        | 2026-11-27 12:00 America/Argentina/San_Juan
tomorrow 9am local time                       | 2026-11-25 09:00
tomorrow 9am my time                          | 2026-11-25 09:00
14:00 UTC+2                                   | 2026-11-24 13:00
14:00 UTC-5                                   | 2026-11-24 20:00
tomorrow 18:00 UTC+5:30                       | 2026-11-25 13:30
1 march 2031 18:00 UTC−5                      | 2031-03-02 00:00
every day at 9am New York                     | 2026-11-24 09:00 America/New_York | FREQ=DAILY
every weekday 18:00 UTC                       | 2026-11-24 18:00 UTC | FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR

# Every day
every day at 9am                              | 2026-11-25 09:00 | FREQ=DAILY
every day                                     | 2026-11-25 09:00 | FREQ=DAILY
every day 18:00                               | 2026-11-24 18:00 | FREQ=DAILY
each day at noon                              | 2026-11-24 12:00 | FREQ=DAILY
every day at midnight                         | 2026-11-25 00:00 | FREQ=DAILY
everyday at 9am                               | 2026-11-25 09:00 | FREQ=DAILY
daily at 9am                                  | 2026-11-25 09:00 | FREQ=DAILY
daily 9am                                     | 2026-11-25 09:00 | FREQ=DAILY
at 9am every day                              | 2026-11-25 09:00 | FREQ=DAILY
9am daily                                     | 2026-11-25 09:00 | FREQ=DAILY
every morning                                 | 2026-11-25 09:00 | FREQ=DAILY
every morning at 7                            | 2026-11-25 07:00 | FREQ=DAILY
every evening                                 | 2026-11-24 18:00 | FREQ=DAILY
every evening at 8                            | 2026-11-24 20:00 | FREQ=DAILY
every night at 10                             | 2026-11-24 22:00 | FREQ=DAILY
every other day                               | 2026-11-25 09:00 | FREQ=DAILY;INTERVAL=2
every other day at 18:00                      | 2026-11-24 18:00 | FREQ=DAILY;INTERVAL=2
every 2nd day 8am                             | 2026-11-25 08:00 | FREQ=DAILY;INTERVAL=2
every second day 8am                          | 2026-11-25 08:00 | FREQ=DAILY;INTERVAL=2
every third day at noon                       | 2026-11-24 12:00 | FREQ=DAILY;INTERVAL=3
every 3 days                                  | 2026-11-25 09:00 | FREQ=DAILY;INTERVAL=3
every three days at 9am                       | 2026-11-25 09:00 | FREQ=DAILY;INTERVAL=3
every weekday at 8                            | 2026-11-25 08:00 | FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR
every weekday                                 | 2026-11-25 09:00 | FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR
every weekday 17:00                           | 2026-11-24 17:00 | FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR
every workday at 8:30                         | 2026-11-25 08:30 | FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR
weekdays at 8                                 | 2026-11-25 08:00 | FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR
on weekdays at 8am                            | 2026-11-25 08:00 | FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR
weekends at 10am                              | 2026-11-28 10:00 | FREQ=WEEKLY;BYDAY=SA,SU

# Every week
every monday                                  | 2026-11-30 09:00 | FREQ=WEEKLY;BYDAY=MO
every monday at 9:00                          | 2026-11-30 09:00 | FREQ=WEEKLY;BYDAY=MO
every monday morning at 6                     | 2026-11-30 06:00 | FREQ=WEEKLY;BYDAY=MO
mondays at 9am                                | 2026-11-30 09:00 | FREQ=WEEKLY;BYDAY=MO
on mondays at noon                            | 2026-11-30 12:00 | FREQ=WEEKLY;BYDAY=MO
mondays and thursdays 7:30                    | 2026-11-26 07:30 | FREQ=WEEKLY;BYDAY=MO,TH
every tue 18:00                               | 2026-11-24 18:00 | FREQ=WEEKLY;BYDAY=TU
every mon and thu 7:30                        | 2026-11-26 07:30 | FREQ=WEEKLY;BYDAY=MO,TH
every monday, wednesday and friday at 8       | 2026-11-25 08:00 | FREQ=WEEKLY;BYDAY=MO,WE,FR
every monday, wednesday, and friday at 8      | 2026-11-25 08:00 | FREQ=WEEKLY;BYDAY=MO,WE,FR
every friday and monday 9am                   | 2026-11-27 09:00 | FREQ=WEEKLY;BYDAY=MO,FR
every monday to friday at 8                   | 2026-11-25 08:00 | FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR
every mon-fri 9am                             | 2026-11-25 09:00 | FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR
every friday to monday 9am                    | 2026-11-27 09:00 | FREQ=WEEKLY;BYDAY=MO,FR,SA,SU
every week on friday at 5pm                   | 2026-11-27 17:00 | FREQ=WEEKLY;BYDAY=FR
weekly on friday 17:00                        | 2026-11-27 17:00 | FREQ=WEEKLY;BYDAY=FR
every 2 weeks on monday and thursday 7:30     | 2026-11-26 07:30 | FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH
every two weeks on friday                     | 2026-11-27 09:00 | FREQ=WEEKLY;INTERVAL=2;BYDAY=FR
every other week on friday at noon            | 2026-11-27 12:00 | FREQ=WEEKLY;INTERVAL=2;BYDAY=FR
every other monday 9am                        | 2026-11-30 09:00 | FREQ=WEEKLY;INTERVAL=2;BYDAY=MO
every second week on monday                   | 2026-11-30 09:00 | FREQ=WEEKLY;INTERVAL=2;BYDAY=MO
fortnightly on monday 9am                     | 2026-11-30 09:00 | FREQ=WEEKLY;INTERVAL=2;BYDAY=MO
every fortnight on monday                     | 2026-11-30 09:00 | FREQ=WEEKLY;INTERVAL=2;BYDAY=MO
every 3 weeks on sunday 10:00                 | 2026-11-29 10:00 | FREQ=WEEKLY;INTERVAL=3;BYDAY=SU
every week starting tomorrow 9am              | 2026-11-25 09:00 | FREQ=WEEKLY;BYDAY=WE
every 2 weeks starting friday at noon         | 2026-11-27 12:00 | FREQ=WEEKLY;INTERVAL=2;BYDAY=FR

# Every month
every month on the 31st                       | 2026-12-31 09:00 | FREQ=MONTHLY;BYMONTHDAY=31
monthly on the 1st at 9am                     | 2026-12-01 09:00 | FREQ=MONTHLY;BYMONTHDAY=1
every month on the 1st and 15th               | 2026-12-01 09:00 | FREQ=MONTHLY;BYMONTHDAY=1,15
every month on the 1st and the 15th at noon   | 2026-12-01 12:00 | FREQ=MONTHLY;BYMONTHDAY=1,15
every month on the last day 18:00             | 2026-11-30 18:00 | FREQ=MONTHLY;BYMONTHDAY=-1
every last day of the month                   | 2026-11-30 09:00 | FREQ=MONTHLY;BYMONTHDAY=-1
on the last day of every month at 18:00       | 2026-11-30 18:00 | FREQ=MONTHLY;BYMONTHDAY=-1
last day of the month 18:00                   | 2026-11-30 18:00 | FREQ=MONTHLY;BYMONTHDAY=-1
the 15th of every month at 9:00               | 2026-12-15 09:00 | FREQ=MONTHLY;BYMONTHDAY=15
every 15th                                    | 2026-12-15 09:00 | FREQ=MONTHLY;BYMONTHDAY=15
every 15th of the month                       | 2026-12-15 09:00 | FREQ=MONTHLY;BYMONTHDAY=15
every 15th and 30th at noon                   | 2026-11-30 12:00 | FREQ=MONTHLY;BYMONTHDAY=15,30
last friday of the month 17:00                | 2026-11-27 17:00 | FREQ=MONTHLY;BYDAY=-1FR
every last friday of the month at 17:00       | 2026-11-27 17:00 | FREQ=MONTHLY;BYDAY=-1FR
last friday of every month                    | 2026-11-27 09:00 | FREQ=MONTHLY;BYDAY=-1FR
every month on the last friday 17:00          | 2026-11-27 17:00 | FREQ=MONTHLY;BYDAY=-1FR
monthly on the first monday at 9am            | 2026-12-07 09:00 | FREQ=MONTHLY;BYDAY=1MO
first monday of each month 9am                | 2026-12-07 09:00 | FREQ=MONTHLY;BYDAY=1MO
every first monday of the month               | 2026-12-07 09:00 | FREQ=MONTHLY;BYDAY=1MO
every second monday of the month              | 2026-12-14 09:00 | FREQ=MONTHLY;BYDAY=2MO
every month on the second tuesday at 10:00    | 2026-12-08 10:00 | FREQ=MONTHLY;BYDAY=2TU
first and third monday of every month 9am     | 2026-12-07 09:00 | FREQ=MONTHLY;BYDAY=1MO,3MO
every 5th friday of the month 9am             | 2027-01-29 09:00 | FREQ=MONTHLY;BYDAY=5FR
every 3 months on the 1st                     | 2026-12-01 09:00 | FREQ=MONTHLY;INTERVAL=3;BYMONTHDAY=1
every other month on the 10th                 | 2026-12-10 09:00 | FREQ=MONTHLY;INTERVAL=2;BYMONTHDAY=10
last weekday of the month 16:00               | 2026-11-30 16:00 | FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1
first workday of every month 9am              | 2026-12-01 09:00 | FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1
every month starting 15 december              | 2026-12-15 09:00 | FREQ=MONTHLY;BYMONTHDAY=15

# Every year
yearly on 29 feb                              | 2028-02-29 09:00 | FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29
every year on 4 july at noon                  | 2027-07-04 12:00 | FREQ=YEARLY;BYMONTH=7;BYMONTHDAY=4
annually on december 24 at 18:00              | 2026-12-24 18:00 | FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24
every 24 december                             | 2026-12-24 09:00 | FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24
every december 24th 18:00                     | 2026-12-24 18:00 | FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24
every 4th of july                             | 2027-07-04 09:00 | FREQ=YEARLY;BYMONTH=7;BYMONTHDAY=4
each year on 1 march                          | 2027-03-01 09:00 | FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=1
yearly on the 1st of march 9am                | 2027-03-01 09:00 | FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=1
every 2 years on 1 may                        | 2027-05-01 09:00 | FREQ=YEARLY;INTERVAL=2;BYMONTH=5;BYMONTHDAY=1
every last friday of november 10:00           | 2026-11-27 10:00 | FREQ=YEARLY;BYMONTH=11;BYDAY=-1FR
yearly on the last friday of november 10:00   | 2026-11-27 10:00 | FREQ=YEARLY;BYMONTH=11;BYDAY=-1FR
every year starting 1 march                   | 2027-03-01 09:00 | FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=1

# Beginnings and ends
every 3 days until 1 May                      | 2026-11-25 09:00 | FREQ=DAILY;INTERVAL=3;UNTIL=20270501T235959
every day at 9am until 1 may 2027             | 2026-11-25 09:00 | FREQ=DAILY;UNTIL=20270501T235959
every weekday at 8, until 1 May 2027          | 2026-11-25 08:00 | FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;UNTIL=20270501T235959
every weekday at 8 until friday               | 2026-11-25 08:00 | FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;UNTIL=20261127T235959
daily 9am till 31 december                    | 2026-11-25 09:00 | FREQ=DAILY;UNTIL=20261231T235959
daily 9am until the 15th                      | 2026-11-25 09:00 | FREQ=DAILY;UNTIL=20261215T235959
daily 9am until 2026-12-31                    | 2026-11-25 09:00 | FREQ=DAILY;UNTIL=20261231T235959
every day for 10 days                         | 2026-11-25 09:00 | FREQ=DAILY;UNTIL=20261204T235959
every day at 9am for 2 weeks                  | 2026-11-25 09:00 | FREQ=DAILY;UNTIL=20261208T235959
every monday for 3 weeks                      | 2026-11-30 09:00 | FREQ=WEEKLY;BYDAY=MO;UNTIL=20261220T235959
every monday for a month                      | 2026-11-30 09:00 | FREQ=WEEKLY;BYDAY=MO;UNTIL=20261229T235959
every day at 9am 10 times                     | 2026-11-25 09:00 | FREQ=DAILY;COUNT=10
every monday at noon, 4 times                 | 2026-11-30 12:00 | FREQ=WEEKLY;BYDAY=MO;COUNT=4
every other day 18:00 five times              | 2026-11-24 18:00 | FREQ=DAILY;INTERVAL=2;COUNT=5
every day at 9am starting monday              | 2026-11-30 09:00 | FREQ=DAILY
every day from 1 december at 9am              | 2026-12-01 09:00 | FREQ=DAILY
daily at 9am from 1 december until 24 december| 2026-12-01 09:00 | FREQ=DAILY;UNTIL=20261224T235959
every monday starting 1 december              | 2026-12-07 09:00 | FREQ=WEEKLY;BYDAY=MO
every 3 days after completion                 | 2026-11-25 09:00 | FREQ=DAILY;INTERVAL=3
every 3 days at 9am from completion           | 2026-11-25 09:00 | FREQ=DAILY;INTERVAL=3
"""

# phrase | the part that is complained about | pieces that the complaint must hold, both readings where there are two
REFUSED: Final = """
# Not understood, or only in part
foo                                           | foo               | is not understood
tomorrow foo                                  | foo               | is not understood
tomorrow 9am foo                              | foo               | is not understood
tomorow 9am                                   | tomorow           | is not understood
morgen 9 Uhr                                  | morgen            | is not understood
завтра 9am                                    | завтра            | is not understood
remind me tomorrow                            | remind            | is not understood
call mum tomorrow 9am                         | call              | is not understood
tomorrow at                                   | at                | at what time
at                                            | at                | at what time
at tomorrow                                   | at                | at what time
in                                            | in                | in what
in 2                                          | 2                 | of what
in foo                                        | foo               | is not understood
in 2 foos                                     | foos              | is not understood
on                                            | on                | on which day
every                                         | every             | every what
every foo                                     | foo               | is not understood
until friday                                  | until             | only what repeats
for 3 days                                    | for               | only what repeats
5 times                                       | 5 times           | only what repeats
starting monday                               | starting          | only what repeats
after completion                              | after             | only what repeats
,                                             | ,                 | is not understood
tomorrow 9am,                                 | ,                 | is not understood
tomorrow 9am.                                 | .                 | is not understood
tomorrow 9am!                                 | !                 | is not understood
tomorrow (9am)                                | (                 | is not understood
tomorrow - 9am                                | -                 | is not understood
tomorrow; 9am                                 | ;                 | is not understood
9am 10am                                      | 10am              | second time of day; 9am
tomorrow 9am at 10am                          | 10am              | second time of day; 9am
9am noon                                      | noon              | second time of day
tomorrow today 9am                            | today             | second day; tomorrow
monday tuesday 9am                            | tuesday           | second day; monday
monday and tuesday 9am                        | monday and tuesday| once; every
the 1st and 15th 9am                          | 1st and 15th      | once; every
monday to friday 9am                          | monday to friday  | once; every
tomorrow or friday                            | or                | is not understood
tomorrow and friday                           | and               | is not understood
tomorrow morning evening                      | evening           | second part of the day
every day every week                          | every week        | second repetition
in 2 hours in 3 hours                         | in 3 hours        | second length of time
tomorrow 9am New York Tokyo                   | Tokyo             | second zone

# Vague
soon                                          | soon              | no time
later                                         | later             | no time
asap                                          | asap              | no time
sometime tomorrow                             | sometime          | no time
around 9                                      | around            | no time
tomorrow about 9am                            | about             | no time
9ish                                          | 9                 | at 9
in a while                                    | while             | no time
in a few minutes                              | few               | how many
in a couple of hours                          | couple            | how many
in several days                               | several           | how many
every few days                                | few               | how many
tomorrow in the morning or evening            | or                | is not understood
in the morning                                | in the morning    | today; tomorrow
morning                                       | morning           | today; tomorrow
evening                                       | evening           | today; tomorrow
next week                                     | next week         | which day
this week                                     | this week         | which day
next month                                    | next month        | which day
this month                                    | this month        | which day
next year                                     | next year         | which day
this weekend                                  | weekend           | saturday; sunday
the weekend                                   | weekend           | saturday; sunday
next weekend                                  | weekend           | saturday; sunday
march                                         | march             | which day
march 2031                                    | march 2031        | which day
in march                                      | march             | which day
2031                                          | 2031              | year; clock
9                                             | 9                 | at 9
tomorrow 9                                    | 9                 | at 9
monday 9                                      | 9                 | at 9
tomorrow 1800                                 | 1800              | 18:00
tomorrow at 1800                              | 1800              | 18:00
1 march 31                                    | 31                | four digits
in 2 working days                             | working           | is not understood
monday in two weeks                           | in two weeks      | second day; monday
in two weeks on monday                        | monday            | second day
first monday in 2 months                      | first monday      | of which month
first day of next week                        | next week         | month
friday or so                                  | or                | is not understood
today                                         | today             | at what time
eod                                           | eod               | no time
end of the month                              | end               | last day
christmas at noon                             | christmas         | occasion
tomorrow 9am wake                             | wake              | no place; Pacific/Wake
friday noon easter                            | easter            | occasion; Pacific/Easter
by friday                                     | by                | is not understood
before friday                                 | before            | how long before

# Over already
now                                           | now               | not in the future
2 hours ago                                   | ago               | past
yesterday                                     | yesterday         | past
yesterday 9am                                 | yesterday         | past
last friday                                   | last friday       | past; of the month
last week                                     | last week         | past
last night                                    | last night        | past
this morning                                  | this morning      | past
today 9am                                     | today 9am         | past
today at 8                                    | today at 8        | past
this monday 9am                               | this monday       | past
1 march 2020                                  | 1 march 2020      | past
2020-01-01                                    | 2020-01-01        | past
2020-01-01T09:00:00Z                          | 2020-01-01T09:00:00Z | past
24 november 2026 9am                          | 24 november 2026 9am | past
10th of this month                            | 10th of this month | past
3 days before tomorrow                        | 3 days before tomorrow | past
in 0 minutes                                  | 0                 | nothing
in 0 days                                     | 0                 | nothing
in -2 hours                                   | -                 | is not understood

# Out of the calendar, off the clock
2027-13-01                                    | 2027-13-01        | no such day
2027-02-29                                    | 2027-02-29        | no such day
2027-1-1                                      | 2027-1-1          | 2027-01-01
0000-01-01                                    | 0000-01-01        | no such day
30 february                                   | 30 february       | no such day
31 april                                      | 31 april          | no such day
february 29 2027                              | february 29 2027  | no such day
0 march                                       | 0 march           | no such day
32 december                                   | 32 december       | no such day
the 32nd                                      | 32nd              | no such day
the 31st of this month                        | 31st of this month | no such day
the 1th                                       | 1th               | 1st
2st march                                     | 2st               | 2nd
13/13/2027                                    | 13/13/2027        | no such day
32/1/2027                                     | 32/1/2027         | no such day
sixth monday of march                         | sixth monday      | no month
fifth monday of february 2027                 | fifth monday of february 2027 | no such day
friday 5 december 2026                        | friday            | Saturday
monday 1 december                             | monday            | Tuesday
1 March 2231                                  | 1 March 2231      | 100 years
in 1000 years                                 | in 1000 years     | 100 years
in 99999999999999999999 days                  | 99999999999999999999 | too large
in 1000000 hours                              | in 1000000 hours  | 100 years
in 1.5 days                                   | 1.5               | hours
in 1.5 months                                 | 1.5               | hours
in 1,5 hours                                  | 1                 | of what
in a month and a half                         | a half            | hours
25:00                                         | 25:00             | no such time
tomorrow 24:30                                | 24:30             | no such time
12:60                                         | 12:60             | no such time
9:5                                           | 9:5               | two digits
9:00:61                                       | 9:00:61           | no such time
13pm                                          | 13pm              | no such time
0am                                           | 0am               | no such time
9 am pm                                       | pm                | is not understood
tomorrow 9am in the evening                   | in the evening    | 09:00
tonight at 9am                                | tonight           | 09:00
tonight at 14:00                              | tonight           | 14:00
tonight at 2                                  | tonight           | 2
noon in the evening                           | in the evening    | 12:00
half past 25                                  | half past 25      | no such time
70 past 8                                     | 70 past 8         | no such time

# Two readings, both named
3/4/2027                                      | 3/4/2027          | ambiguous; 3 April 2027; 4 March 2027
03/04/2027 18:00                              | 03/04/2027        | ambiguous; 3 April 2027; 4 March 2027
3.4.2027                                      | 3.4.2027          | ambiguous; 3 April 2027; 4 March 2027
3-4-2027                                      | 3-4-2027          | ambiguous; 3 April 2027; 4 March 2027
3/4/27                                        | 3/4/27            | four digits
3/4                                           | 3/4               | ambiguous; 3 April; 4 March
next fri noon                                 | next fri          | ambiguous; 27 November 2026; 4 December 2026
next friday                                   | next friday       | ambiguous; 27 November 2026; 4 December 2026
next sunday 10:00                             | next sunday       | ambiguous; 29 November 2026; 6 December 2026
sunday next week                              | sunday next week  | ambiguous; 29 November 2026; 6 December 2026
tuesday                                       | tuesday           | ambiguous; today; 1 December 2026
tuesday 24:00                                 | tuesday           | ambiguous; 24 November 2026; 1 December 2026
tuesday 18:00                                 | tuesday           | ambiguous; 24 November 2026; 1 December 2026
24 november                                   | 24 november       | today; 24 November 2027
the 24th                                      | 24th              | today; 24 December 2026
the 24th 18:00                                | 24th              | ambiguous; 24 November 2026; 24 December 2026
at 5                                          | 5                 | ambiguous; 05:00; 17:00
tomorrow at 5                                 | 5                 | ambiguous; 05:00; 17:00
tomorrow 5:30                                 | 5:30              | ambiguous; 05:30; 17:30
tomorrow at quarter past 5                    | quarter past 5    | ambiguous; 05:15; 17:15
tomorrow at 5 o'clock                         | 5 o'clock         | ambiguous; 05:00; 17:00
at 12                                         | 12                | ambiguous; 12:00; 00:00
tomorrow at 12                                | 12                | ambiguous; 12:00; 00:00
at 8                                          | 8                 | ambiguous; 08:00; 20:00
9:00                                          | 9:00              | ambiguous; 09:00; 21:00
every day at 6                                | 6                 | ambiguous; 06:00; 18:00
half 8                                        | half 8            | ambiguous; 08:30; 07:30
tomorrow at half 8                            | half 8            | ambiguous; 08:30; 07:30
tomorrow midnight                             | midnight          | ambiguous; 00:00; 24:00
friday at midnight                            | midnight          | ambiguous; 00:00; 24:00
tomorrow 12am                                 | 12am              | ambiguous; 00:00; 24:00
every friday at midnight                      | midnight          | ambiguous; 00:00; 23:59
in 5m                                         | m                 | ambiguous; minutes; months
in 5 m                                        | m                 | ambiguous; minutes; months
18h30                                         | 18h30             | ambiguous; in 18h30; 18:30
tomorrow 8.15                                 | 8.15              | ambiguous; 08:15
every second monday                           | every second monday | ambiguous; every 2 weeks on monday; monthly
every 2nd fri 9am                             | every 2nd fri     | ambiguous; every 2 weeks on friday; monthly
every weekend                                 | weekend           | ambiguous; saturday and sunday
biweekly on monday                            | biweekly          | ambiguous; every 2 weeks; twice a week
bimonthly on the 1st                          | bimonthly         | ambiguous; every 2 months; twice a month
every day at 9am until friday 18:00           | 18:00             | second time of day
every day until friday 18:00                  | 18:00             | ambiguous; each; last
1 month after 31 january 2027                 | 1 month after 31 january 2027 | ambiguous; 28 February 2027; 1 March 2027

tomorrow 9 to 11                              | 9 to 11           | a time, or from one to another
tomorrow 10 to 11am                           | 10 to 11          | a time, or from one to another
every day 9 to 5                              | 9 to 5            | a time, or from one to another
every second march                            | second            | which one
in a weeks                                    | weeks             | is not understood

# Other people's clocks
9am PST                                       | PST               | Los Angeles
9am PT                                        | PT                | Los Angeles
9am EST                                       | EST               | New York
9am CET                                       | CET               | Paris
9am IST                                       | IST               | Kolkata; Jerusalem; Dublin
9am BST                                       | BST               | London
9am eastern                                   | eastern           | New York
9am Springfield                               | Springfield       | is not understood
9am Mars/Phobos                               | Mars/Phobos       | no time zone
9am San Juan                                  | San Juan          | America/Argentina/San_Juan; Puerto Rico
9am Cordoba                                   | Cordoba           | America/Argentina/Cordoba; Spain
New York                                      | New York          | at what time
UTC                                           | UTC               | at what time
tomorrow Tokyo time zone                      | zone              | is not understood
in 2 hours New York                           | New York          | everywhere the same
14:00 UTC+25                                  | UTC+25            | does not exist
14:00 UTC+                                    | +                 | is not understood
every day 14:00 UTC+2                         | UTC+2             | name a place

# Repetitions that are none
every hour                                    | every hour        | shortest distance is a day
hourly                                        | hourly            | shortest distance is a day
every 30 minutes                              | every 30 minutes  | shortest distance is a day
every 2 hours                                 | every 2 hours     | shortest distance is a day
every minute                                  | every minute      | shortest distance is a day
every second                                  | every second      | shortest distance is a day
twice a day                                   | twice             | how often
3 times a day                                 | 3 times           | only what repeats
every week                                    | every week        | on which day
weekly 9am                                    | weekly            | on which day
every 2 weeks at 9am                          | every 2 weeks     | on which day
every fortnight                               | every fortnight   | on which day
every month                                   | every month       | on which day
monthly at noon                               | monthly           | on which day
every year                                    | every year        | on which day
yearly                                        | yearly            | on which day
every month on monday                         | monday            | which one of the month
every month on 4 july                         | 4 july            | every year
every week on the 1st                         | 1st               | every month
every day on monday                           | monday            | every week
friday 4 december every year                  | friday            | some years only
every year on the 1st                         | 1st               | of which month
every year on 4 july 2027                     | 4 july 2027       | one year
every monday tomorrow                         | tomorrow          | starting
every monday next week                        | next week         | starting
quarterly                                     | quarterly         | every 3 months
every 0 days                                  | 0                 | nothing
every 1000000 days                            | every 1000000 days| 50 years
every 99 years on 1 may                       | every 99 years    | 50 years
every 1.5 days                                | 1.5               | whole
every day at 9am and 5pm                      | and               | is not understood
every day 9am 5pm                             | 5pm               | second time of day
every day except sunday                       | except            | is not understood
every monday in march                         | march             | which day
every january                                 | january           | which day
every weekday of the month                    | of                | is not understood
every other weekday                           | weekday           | days
every 31 april                                | 31 april          | no such day
every 30 february                             | 30 february       | no such day
every sixth monday of the month               | sixth monday      | no month
every day until                               | until             | until when
every day until yesterday                     | yesterday         | past
every day until 1 may 2020                    | until 1 may 2020  | before it begins
every day until 18:00                         | until             | until when
every monday until tomorrow                   | until tomorrow    | before it begins
every day until friday until monday           | until monday      | second end
every day for                                 | for               | how long
every day for 0 days                          | 0                 | nothing
every day for 2 hours                         | for 2 hours       | days
every day 0 times                             | 0                 | nothing
every day 10001 times                         | 10001 times       | 10,000
every day 10 times until friday               | until friday      | second end
every day for 10 days 5 times                 | 5 times           | second end
every day starting                            | starting          | starting when
every day starting yesterday                  | yesterday         | past
every day starting monday starting friday     | starting friday   | second beginning
every day in 2 hours                          | in 2 hours        | starting
every day from monday to friday               | to                | is not understood
"""


def rows(table: str) -> list[list[str]]:
    """The lines of a table, each cut at its bars; headings and empty lines left out."""
    lines = (line.strip() for line in table.splitlines())
    return [[cell.strip() for cell in line.split("|")] for line in lines if line and not line.startswith("#")]
