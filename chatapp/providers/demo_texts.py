"""Material for the demo model: programs, formulas, planets, poems, and sentences for long answers."""

from __future__ import annotations

SNIPPETS = {
    "python": '''def group_anagrams(words: list[str]) -> list[list[str]]:
    """Return the words in groups that are made of the same letters."""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault("".join(sorted(word.lower())), []).append(word)
    return list(groups.values())


def test_words_with_the_same_letters_come_together():
    assert group_anagrams(["tea", "tan", "Eat"]) == [["tea", "Eat"], ["tan"]]''',
    "javascript": """function* fibonacci() {
  let [a, b] = [0, 1];
  for (;;) {
    yield a;
    [a, b] = [b, a + b];
  }
}

const numbers = fibonacci();
console.log(Array.from({ length: 10 }, () => numbers.next().value));""",
    "typescript": """type Shape = { kind: "circle"; radius: number } | { kind: "square"; side: number };

function area(shape: Shape): number {
  switch (shape.kind) {
    case "circle": return Math.PI * shape.radius ** 2;
    case "square": return shape.side ** 2;
  }
}

console.log(area({ kind: "circle", radius: 2 }).toFixed(2));""",
    "java": """record Point(double x, double y) {
    double distanceTo(Point other) {
        return Math.hypot(x - other.x, y - other.y);
    }
}

public class Main {
    public static void main(String[] args) {
        System.out.println(new Point(0, 0).distanceTo(new Point(3, 4))); // 5.0
    }
}""",
    "rust": """use std::collections::HashMap;

fn word_counts(text: &str) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for word in text.split_whitespace() {
        *counts.entry(word).or_insert(0) += 1;
    }
    counts
}

fn main() {
    println!("{:?}", word_counts("to be or not to be"));
}""",
    "go": """package main

import "fmt"

func main() {
	squares := make(chan int)
	go func() {
		defer close(squares)
		for i := 1; i <= 5; i++ {
			squares <- i * i
		}
	}()
	for square := range squares {
		fmt.Println(square)
	}
}""",
    "c": """#include <stdio.h>

int main(void) {
    unsigned long long product = 1;
    for (int i = 1; i <= 10; i++) {
        product *= i;
        printf("%2d! = %llu\\n", i, product);
    }
    return 0;
}""",
    "cpp": """#include <algorithm>
#include <iostream>
#include <vector>

int main() {
    std::vector<int> numbers{5, 3, 8, 1};
    std::ranges::sort(numbers);
    for (int number : numbers) std::cout << number << ' ';
}""",
    "sql": """SELECT author, count(*) AS books, round(avg(pages)) AS pages
FROM book
WHERE published >= DATE '2020-01-01'
GROUP BY author
HAVING count(*) > 1
ORDER BY books DESC, author;""",
    "bash": """#!/usr/bin/env bash
set -euo pipefail

# The ten largest files below a folder.
find "${1:-.}" -type f -printf '%s %p\\n' | sort -rn | head -n 10 | numfmt --to=iec""",
    "html": """<article>
  <h1>A small page</h1>
  <p>It has <em>just</em> what it needs.</p>
  <button type="button">Press me</button>
</article>""",
    "css": """.card {
  display: grid;
  gap: 0.5rem;
  padding: 1rem;
  border-radius: 0.75rem;
  background: light-dark(white, #1c1c22);
}""",
    "ruby": """words = %w[pear apple fig]
words.sort_by(&:length).each_with_index do |word, index|
  puts "#{index + 1}. #{word.capitalize}"
end""",
}

# English and German name, diameter in km, known moons, length of a day. Source: NASA planetary fact sheet.
PLANETS = [
    (("Mercury ☿", "Merkur ☿"), 4_879, 0, "4,222.6 h"),
    (("Venus ♀", "Venus ♀"), 12_104, 0, "2,802 h"),
    (("Earth 🌍", "Erde 🌍"), 12_756, 1, "24 h"),
    (("Mars ♂", "Mars ♂"), 6_792, 2, "24.7 h"),
    (("Jupiter ♃", "Jupiter ♃"), 142_984, 95, "9.9 h"),
    (("Saturn 🪐", "Saturn 🪐"), 120_536, 146, "10.7 h"),
    (("Uranus ⛢", "Uranus ⛢"), 51_118, 28, "17.2 h"),
    (("Neptune ♆", "Neptun ♆"), 49_528, 16, "16.1 h"),
]

FORMULAS = [
    r"e^{i\pi} + 1 = 0",
    r"\int_{-\infty}^{\infty} e^{-x^2} \, dx = \sqrt{\pi}",
    r"\sum_{n=1}^{\infty} \frac{1}{n^2} = \frac{\pi^2}{6}",
]

ENGLISH_POEMS = [
    "The cursor blinks, a patient thing,  \nit waits for what the next words bring;  \na token here, a token there,  \n"
    "and meaning settles out of air. ✨",
    "Rain on the window, rain on the street,  \na thousand small drums with one quick beat.  \n"
    "The kettle hums; the lamp is low;  \nthere's nowhere else I'd rather go. ☔",
]
GERMAN_POEMS = [
    "Der Cursor blinkt, er hat viel Zeit,  \ner steht für jedes Wort bereit;  \nein Zeichen hier, ein Zeichen dort,  \n"
    "und langsam wird daraus ein Wort. ✨",
    "Der Regen klopft ans Fensterglas,  \ner trommelt leise, dies und das.  \nDie Kanne summt, die Lampe brennt,  \n"
    "schön, wenn man nirgends hin mehr rennt. ☔",
]
ENGLISH_CHAPTERS = [
    "Where to begin",
    "What it rests on",
    "A closer look",
    "What can go wrong",
    "In practice",
    "Summary",
]
GERMAN_CHAPTERS = ["Wo anfangen", "Worauf es ruht", "Genauer besehen", "Was schiefgehen kann", "In der Praxis", "Fazit"]
ENGLISH_SENTENCES = [
    "Most things look simple from far enough away, and most of them are, once the right words are found.",
    "The first version answers a question nobody asked; the second one answers the question.",
    "It pays to measure before changing anything, because intuition is *confidently* wrong.",
    "A good name saves a paragraph of explanation, and a good example saves a page.",
    "What is done often should be easy; what is done rarely should be **possible**.",
    "Every rule here has an exception, and the exceptions are where the interesting part lives.",
    "If it cannot be explained to a friend over lunch, it is not finished yet. 🥪",
    "Small steps can be taken back, which is why they get you further.",
    "The boring solution is usually the one that still works on a Sunday night.",
    "Nothing is lost by writing it down, and a surprising amount is lost by not doing so.",
]
GERMAN_SENTENCES = [
    "Von weit genug weg sieht das meiste einfach aus, und oft ist es das auch.",
    "Die erste Fassung beantwortet eine Frage, die niemand gestellt hat; die zweite beantwortet die Frage.",
    "Erst messen, dann ändern: Das Bauchgefühl irrt sich mit *großer* Überzeugung.",
    "Ein guter Name spart einen Absatz, ein gutes Beispiel eine Seite.",
    "Was man oft tut, soll leicht sein; was man selten tut, soll **möglich** sein.",
    "Jede Regel hat hier eine Ausnahme, und in den Ausnahmen steckt das Spannende.",
    "Was man nicht beim Mittagessen erklären kann, ist noch nicht fertig. 🥪",
    "Kleine Schritte kann man zurücknehmen, darum kommt man mit ihnen weiter.",
    "Die langweilige Lösung ist meist die, die auch am Sonntagabend noch läuft.",
    "Aufschreiben kostet fast nichts, Nichtaufschreiben erstaunlich viel.",
]
