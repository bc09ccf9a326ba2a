"""How texts are compared: without marks, in every script; and where in the text a place of the compared one is."""

import random
import sys
import unicodedata

import pytest

from chatapp.chats.folding import fold, fold_with_places, place_of
from chatapp.chats.marking import excerpt, marked

# What was written, and what may be typed to find it.
SAME = [
    ("пьёт мой йогурт", "пьет мои иогурт"),
    ("Їжак у Києві, ґанок", "іжак у Києві, ганок"),
    ("Най-добрият", "наи-добрият"),
    ("Қазақ тілі", "казак тілі"),
    ("Καλημέρα ΣΊΣΥΦΟΣ, ὀξεῖα", "καλημερα σισυφος, οξεια"),
    ("Zażółć gęślą jaźń", "ZAZOLC GESLA JAZN"),
    ("Ærø blåbær Øl", "aero blabaer ol"),
    ("Đà Nẵng, Việt", "da nang, viet"),
    ("İstanbul'da ısı", "ISTANBUL'DA ISI"),
    ("Straße", "STRASSE"),
    ("ﬁnal œuvre ŧæst", "final oeuvre taest"),
    ("مُحَمَّد أكـــل إلى آخر مدرسة", "محمد اكل الي اخر مدرسه"),
    ("کتاب فارسی", "كتاب فارسي"),
    ("می\u200cخواهم", "میخواهم"),
    ("שָׁלוֹם", "שלום"),
    ("क़लम ज़मीन", "कलम जमीन"),
    ("ไม้ จันทร์", "ไม จันทร"),
    ("ｶﾞｷﾞ ﾊﾟﾝ", "ガギ パン"),
    ("か\u3099", "が"),
    ("Ｔａｌｌｙ　１２３", "tally 123"),
    ("\u1112\u1161\u11ab국", "한국"),
    ("Երևան ՀԱՅԵՐԵՆ", "երեւան հայերեն"),
    ("ᲡᲐᲥᲐᲠᲗᲕᲔᲚᲝ", "საქართველო"),
    ("e‑mail – don’t “go”", 'e-mail - don\'t "go"'),
    ("«Привет» ‹x›", "\"Привет\" 'x'"),
    ("Qurʾān ʿAlī", "Qur'an 'Ali"),
    ("10〜20時", "10～20時"),
    ("soft\u00adhyphen zero\u200bwidth ❤\ufe0f", "softhyphen zerowidth ❤"),
    ("١٢٣ १२३", "123 123"),
    ("e\u0301te\u0301", "été"),
    ("ייִדיש װאָס", "יידיש וואס"),
    ("അവൻ അവൾ", "അവന്\u200d അവള്\u200d"),
]
DIFFERENT = [("はは", "ばば"), ("कि", "क"), ("กา", "กิ"), ("한", "하"), ("中", "申"), ("c++", "c"), (".env", "env")]


@pytest.mark.parametrize(("written", "typed"), SAME)
def test_marks_case_and_width_make_no_difference_in_any_script(written, typed):
    assert fold(written) == fold(typed)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_readers_take_for_another_letter_stays_another(one, other):
    assert fold(one) != fold(other)


def test_folding_again_changes_nothing_for_any_character():
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]

    assert [char for char in characters if fold(fold(char)) != fold(char)] == []


def test_no_accent_of_any_script_is_left():
    letters = (chr(code) for code in range(0x80, 0x3000) if unicodedata.category(chr(code))[0] == "L")
    accented = [letter + mark for letter in letters for mark in "\u0301\u0308\u0323"]

    assert [text for text in accented if fold(text) != fold(text[0])] == []


def _mixed(chance):
    ranges = [(0x20, 0x250), (0x300, 0x370), (0x370, 0x700), (0x900, 0xF00), (0x1100, 0x1200), (0x3040, 0x3100)]
    ranges += [(0xAC00, 0xAD00), (0xFB00, 0xFE80), (0xFF00, 0xFFE0), (0x1F000, 0x1F100)]
    return "".join(chr(chance.randrange(*chance.choice(ranges))) for _ in range(chance.randint(1, 30)))


def test_every_place_of_a_folded_text_is_a_place_of_the_text():
    chance = random.Random(11)
    for text in (_mixed(chance) for _ in range(2000)):
        folded, places = fold_with_places(text)
        assert folded == fold(text) == fold(folded)
        assert places == sorted(places)
        assert len(places) == len(folded) + 1
        assert places[-1] == len(text)


def test_a_place_far_on_is_the_same_place():
    text = "Straße e\u0301 ｶﾞ ﬁn " * 200 + "needle"

    assert text[place_of(text, fold(text).index("needle")) :] == "needle"


@pytest.mark.parametrize(
    ("text", "term", "hit"),
    [
        ("Die Straße endet", "strasse", "Straße"),
        ("Die Straße endet", "ende", "ende"),
        ("Он пьёт чай", "пьет", "пьёт"),
        ("قال مُحَمَّدٌ نعم", "محمد", "مُحَمَّدٌ"),
        ("これはｶﾞﾗｽです", "ガラス", "ｶﾞﾗｽ"),
        ("cafe\u0301 noir", "cafe", "cafe\u0301"),
        ("co\u00adop e\u2011mail", "e-mail", "e\u2011mail"),
    ],
)
def test_the_hit_is_marked_as_it_was_written(text, term, hit):
    parts = marked(text, (fold(term),))

    assert "".join(part for part, _is_hit in parts) == text
    assert [part for part, is_hit in parts if is_hit] == [hit]
    assert [part for part, is_hit in excerpt("word " * 300 + text, (fold(term),)) if is_hit] == [hit]
