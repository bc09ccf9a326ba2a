"""What a reader has before the eyes: while an answer grows, on paper, and on a phone with a notch."""

# ruff: noqa: F811

import pytest
from playwright.sync_api import expect

from tests.browser.looks import page  # noqa: F401
from tests.browser.steps import FOLLOWED, LONG, last_answer, send, wait_until

# Marks that are Markdown's and not the reader's, seen in a text whose code is left out.
RAW = r"""e => {
  const copy = e.cloneNode(true);
  copy.querySelectorAll('pre, code, annotation').forEach(each => each.remove());
  return copy.textContent.match(/[$|`\\]|\*\*|\[[x ]?\]?/g) ?? [];
}"""
# Each is cut in its most delicate places.
CUT = {
    "a table": ["| a | b", " |\n", "|--", "|--|\n", "| 1 ", "| 2 |\n| 3", " | 4 |\n\nEnd."],
    "a formula": ["It is $", "\\frac{1}", "{2", "}$, and\n\n$", "$\nx^", "2\n$", "$\n\nEnd."],
    "tasks": ["- [", "x", "] done\n- [ ", "] open", "\n\nEnd."],
    "emphasis": ["Some *", "*bold", "*", "* and `", "code", "`.\n\nEnd."],
    "a fence": ["`", "``py", "thon\nx = 1\n", "``", "`\n\nEnd."],
}
KINDS = {"a table": "td", "a formula": "math", "tasks": "input", "emphasis": "strong", "a fence": "pre"}


@pytest.mark.parametrize("kind", CUT)
def test_nothing_is_half_rendered_while_it_comes(page, demo, kind):
    holds = [demo.hold() for _ in CUT[kind]]
    demo.will_say("Look.\n\n", *(part for pair in zip(holds, CUT[kind], strict=True) for part in pair))
    send(page, "Show me")
    expect(last_answer(page)).to_contain_text("Look.")
    seen = []
    for hold in holds:
        hold.set()
        page.wait_for_timeout(120)  # More than a frame: what is there is looked at, whatever it is.
        seen += last_answer(page).locator("> .prose").evaluate(RAW)

    expect(last_answer(page)).to_contain_text("End.")
    expect(last_answer(page).locator(KINDS[kind]).first).to_be_attached()
    assert seen == []


def test_who_turns_the_wheel_up_stays_there_while_code_grows(page, demo):
    more, end = demo.hold(), demo.hold()
    demo.will_say(LONG + "\n\n```python\n", "x = 1\n" * 30, more, "y = 2\n" * 200, end, "```\n\nEnd.")
    send(page, "A lot of code")
    expect(last_answer(page)).to_contain_text("x = 1")
    wait_until(page, FOLLOWED)
    page.mouse.move(340, 300)
    page.mouse.wheel(0, -150)
    expect(page.locator("#latest")).to_be_visible()
    top = page.locator("#scroll").evaluate("e => e.scrollTop")

    more.set()
    expect(last_answer(page)).to_contain_text("y = 2")
    assert page.locator("#scroll").evaluate("e => e.scrollTop") == top
    page.mouse.wheel(0, 100_000)
    expect(page.locator("#latest")).to_be_hidden()
    end.set()

    expect(last_answer(page)).to_contain_text("End.")
    wait_until(page, FOLLOWED)


def test_what_is_being_selected_does_not_run_away(page, demo):
    more = demo.hold()
    demo.will_say(LONG, more, "\n\n" + LONG)
    send(page, "A long answer")
    expect(last_answer(page)).to_contain_text("Paragraph 59")
    wait_until(page, FOLLOWED)
    words = page.locator(".answer p", has_text="Paragraph 52").first
    words.dblclick(position={"x": 20, "y": 10})
    top = words.bounding_box()["y"]

    more.set()

    expect(page.locator(".bill")).to_be_attached()
    assert words.bounding_box()["y"] == top
    assert page.evaluate("getSelection().toString().trim()") == "Paragraph"
    page.locator("#latest").click()
    wait_until(page, FOLLOWED)


def test_the_smallest_turn_of_the_wheel_is_the_readers(page, demo):
    more = demo.hold()
    demo.will_say(LONG, more, "\n\n" + LONG)
    send(page, "A long answer")
    expect(last_answer(page)).to_contain_text("Paragraph 59")
    wait_until(page, FOLLOWED)
    page.mouse.move(340, 300)
    page.mouse.wheel(0, -40)
    wait_until(page, f"() => !{FOLLOWED}")
    page.wait_for_timeout(300)  # A wheel may roll out.
    top = page.locator("#scroll").evaluate("e => e.scrollTop")
    more.set()
    expect(page.locator(".bill")).to_be_attached()

    assert page.locator("#scroll").evaluate("e => e.scrollTop") == top


def test_what_an_answer_cost_is_unfolded_into_sight_and_stays_there(page, demo):
    demo.will_say(LONG)
    send(page, "A long answer")
    summary = page.locator(".bill > summary")
    expect(summary).to_be_visible()
    wait_until(page, FOLLOWED)
    summary.click()

    expect(page.locator(".why-link")).to_be_in_viewport(ratio=1)
    before = summary.bounding_box()["y"]
    page.wait_for_timeout(600)
    assert abs(summary.bounding_box()["y"] - before) < 2
    expect(summary).to_be_in_viewport(ratio=1)


def test_the_skip_link_leaves_the_conversation_where_it_is(page, demo):
    demo.will_say(LONG)
    send(page, "A long answer")
    expect(page.locator(".bill")).to_be_visible()
    page.locator(".skip").focus()
    page.keyboard.press("Enter")

    expect(page.locator("#text")).to_be_focused()
    assert page.evaluate("document.documentElement.scrollHeight - innerHeight") == 0
    expect(page.locator(".bar")).to_be_in_viewport()


def test_on_paper_is_the_whole_conversation_and_nothing_to_press(page, demo):
    demo.will_say(LONG)
    send(page, "A long answer")
    expect(page.locator(".bill")).to_be_visible()
    page.emulate_media(media="print", color_scheme="dark")

    assert page.evaluate("document.body.scrollHeight") > page.locator(".turn").bounding_box()["height"] > 2000
    assert page.locator("#scroll").evaluate("e => e.scrollHeight - e.clientHeight") == 0
    expect(page.locator("button:visible, textarea:visible, nav:visible")).to_have_count(0)
    assert page.locator("body").evaluate("e => getComputedStyle(e).colorScheme") == "light"


def test_nothing_to_press_is_under_the_notch_or_the_bar_of_a_phone(open_page):
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    before = [page.locator(each).bounding_box() for each in (".open-side", "#action button")]
    page.context.new_cdp_session(page).send(
        "Emulation.setSafeAreaInsetsOverride", {"insets": {"top": 47, "bottom": 34, "left": 0, "right": 0}}
    )
    side, send_button = (page.locator(each).bounding_box() for each in (".open-side", "#action button"))

    assert before[0]["y"] < 47 <= side["y"]
    assert send_button["y"] + send_button["height"] <= 844 - 34
