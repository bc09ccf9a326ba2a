"""The demo's answers to the four suggestions of an empty chat, in English and German. All of it is true."""

from __future__ import annotations

RAINBOW = (
    """A rainbow is **sunlight that raindrops have sorted by colour** and sent back to you.

1. **In.** Light enters a drop and bends. Blue bends a little more than red, so the colours begin to part.
2. **Back.** At the far side of the drop, some of the light is reflected.
3. **Out.** It leaves through the front and bends again, which spreads the colours further.

Red leaves at about **42°** from the direction opposite the sun, violet at about **40°**. Each drop sends you just
one of
its colours; all the drops that send red to your eye lie on a circle, and those that send violet on a slightly
smaller one.

> **An image to remember:** imagine a crowd of tiny mirrors, each handing you one colour. Where you stand decides
which
> mirrors you see, so nobody else sees exactly your rainbow.

Two things to try:

- Look for one with the sun **behind you** and rain in front of you.
- The lower the sun, the higher the bow. With the sun above 42° there is none to see from the ground.""",
    """Ein Regenbogen ist **Sonnenlicht, das Regentropfen nach Farben sortiert** und zu dir zurückgeschickt haben.

1. **Hinein.** Das Licht tritt in einen Tropfen und wird gebrochen, Blau etwas stärker als Rot. Die Farben trennen
sich.
2. **Zurück.** An der Rückseite des Tropfens wird ein Teil des Lichts gespiegelt.
3. **Hinaus.** Vorn tritt es wieder aus, wird noch einmal gebrochen, und die Farben gehen weiter auseinander.

Rot verlässt den Tropfen etwa **42°** neben der Richtung, die der Sonne gegenüberliegt, Violett etwa **40°**. Jeder
Tropfen
schickt dir nur eine seiner Farben. Alle, die dir Rot schicken, liegen auf einem Kreis, die violetten auf einem
etwas kleineren.

> **Ein Bild zum Merken:** Stell dir eine Menge winziger Spiegel vor, von denen dir jeder eine Farbe reicht. Welche du
> siehst, hängt davon ab, wo du stehst. Genau deinen Regenbogen sieht also niemand sonst.

Zum Ausprobieren:

- Such ihn mit der Sonne **im Rücken** und dem Regen vor dir.
- Je tiefer die Sonne, desto höher der Bogen. Steht sie höher als 42°, ist vom Boden aus keiner zu sehen.""",
)
NOTE = (
    """> Dear Robin,
>
> thank you so much for inviting me. It made my day that you thought of me.
>
> I can’t be there this time, but I hope it turns out to be a wonderful evening. Raise a glass for me, and tell me all
> about it when we next meet.
>
> Warmly,\\
> Alex

Why it works: it **thanks first**, says no **once and clearly**, and ends by looking ahead. A reason is not missing,
because nothing in the note asks for one.

For a more formal note, replace the second paragraph with: *“I’m afraid I’m unable to attend, and wish you a lovely
evening.”*""",
    """> Liebe Robin,
>
> vielen Dank für deine Einladung. Ich habe mich sehr gefreut, dass du an mich gedacht hast.
>
> Diesmal kann ich leider nicht dabei sein. Ich wünsche euch einen wunderbaren Abend. Stoßt für mich mit an, und
erzähl
> mir beim nächsten Mal davon.
>
> Herzliche Grüße\\
> Alex

Warum das funktioniert: Die Absage **dankt zuerst**, sagt **einmal und klar** Nein und schaut dann nach vorn. Ein
Grund
fehlt nicht, weil nichts im Text nach ihm fragt.

Förmlicher wird es so: *„Leider bin ich an diesem Abend verhindert und wünsche Ihnen ein schönes Fest.“*""",
)
DATABASES = (
    """| | SQLite | PostgreSQL |
|:--|:--|:--|
| **Runs as** | a library inside your application | a server of its own |
| **Data** | one file | a folder that the server manages |
| **Setup** | none | install, create a user and a database |
| **Writers at once** | one; others wait their turn | many, row by row |
| **Several machines** | not over a network drive | yes, over the network |
| **Types** | flexible unless a table is `STRICT` | strict, with JSON, arrays, ranges and more |
| **Backup** | `VACUUM INTO`, or its backup API | `pg_dump`, or base backups with WAL archiving |
| **Full-text search** | the FTS5 extension | built in (`tsvector`) |

**Choose SQLite** while one machine serves the site: reads are very fast, there is nothing to operate, and in WAL mode
reading goes on during a write.

**Choose PostgreSQL** once several processes write a lot, or more than one machine needs the data.

Many sites start with the first and move to the second. An ORM such as SQLAlchemy makes that step smaller, as long as
your tests run on both.""",
    """| | SQLite | PostgreSQL |
|:--|:--|:--|
| **Läuft als** | Bibliothek in deiner Anwendung | eigener Server |
| **Daten** | eine Datei | ein Ordner, den der Server verwaltet |
| **Einrichtung** | keine | installieren, Benutzer und Datenbank anlegen |
| **Gleichzeitig schreiben** | einer, die anderen warten | viele, Zeile für Zeile |
| **Mehrere Rechner** | nicht über ein Netzlaufwerk | ja, über das Netz |
| **Typen** | locker, außer bei `STRICT`-Tabellen | streng, mit JSON, Arrays, Bereichen und mehr |
| **Sicherung** | `VACUUM INTO` oder die Backup-API | `pg_dump` oder Basis-Backups mit WAL-Archiv |
| **Volltextsuche** | die Erweiterung FTS5 | eingebaut (`tsvector`) |

**Nimm SQLite**, solange ein Rechner die Seite bedient: Lesen ist sehr schnell, es gibt nichts zu betreiben, und im
WAL-Modus geht das Lesen während eines Schreibvorgangs weiter.

**Nimm PostgreSQL**, wenn mehrere Prozesse viel schreiben oder mehr als ein Rechner die Daten braucht.

Viele fangen mit dem einen an und wechseln zum anderen. Ein ORM wie SQLAlchemy macht den Schritt kleiner, wenn deine
Tests auf beiden laufen.""",
)
CODE = '''```python
from collections import defaultdict


def group_anagrams(words: list[str]) -> list[list[str]]:
    """Group words that consist of the same letters, in the order in which they appear."""
    groups: dict[str, list[str]] = defaultdict(list)
    for word in words:
        groups["".join(sorted(word.casefold()))].append(word)
    return list(groups.values())


def test_group_anagrams():
    assert group_anagrams(["tea", "tan", "Eat", "ate", "nat"]) == [["tea", "Eat", "ate"], ["tan", "nat"]]
    assert group_anagrams([]) == []
```'''
ANAGRAMS = (
    f"""Two words are anagrams if their **sorted letters** are equal, so those letters make a good dictionary key:

{CODE}

- `casefold()` treats *Eat* and *tea* alike.
- A `defaultdict` creates the list for a new key, and dictionaries keep the order of insertion.
- For $n$ words of at most $k$ letters it takes $O(n \\cdot k \\log k)$ steps.

Save it as `test_anagrams.py` and run `pytest`.""",
    f"""Zwei Wörter sind Anagramme, wenn ihre **sortierten Buchstaben** gleich sind. Sie eignen sich also als
Schlüssel:

{CODE}

- `casefold()` behandelt *Eat* und *tea* gleich.
- Ein `defaultdict` legt die Liste für einen neuen Schlüssel an, und Wörterbücher behalten die Reihenfolge.
- Für $n$ Wörter mit höchstens $k$ Buchstaben braucht es $O(n \\cdot k \\log k)$ Schritte.

Speichere es als `test_anagrams.py` und starte `pytest`.""",
)
# What tells a suggestion: words of it, in either language.
CARDS = {
    r"\bhow a rainbow forms\b|\bwie ein Regenbogen entsteht\b": RAINBOW,
    r"\bnote that declines an invitation\b|\bAbsage auf eine Einladung\b": NOTE,
    r"\bSQLite (and|und) PostgreSQL\b": DATABASES,
    r"\bwords by their anagrams\b|\bWörter nach ihren Anagrammen\b": ANAGRAMS,
}
