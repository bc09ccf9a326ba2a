"""What may not be on any page, as a list that should be empty."""

from axe_playwright_python.base import AXE_SCRIPT

# WCAG 2.2 asks for targets of 24 px, or room around them; axe has the rule, but leaves it out unless it is asked for.
ALL_RULES = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
COLOURS = {"resultTypes": ["violations"], "runOnly": ["color-contrast"]}
RUN = "options => axe.run(options).then(found => found.violations.map(v => [v.id, v.nodes.map(n => n.html.slice(0, 150))]))"
MOVING = "document.getAnimations().map(each => each.effect.target.className || each.effect.target.localName)"
WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def flaws(page):
    """Return what axe finds in both themes, as the rule and where, and by how much the page is wider than the window.

    The page's context asks for reduced motion: what moves all the same is a flaw too.
    """
    page.evaluate(AXE_SCRIPT)
    page.emulate_media(color_scheme="light")
    found = page.evaluate(RUN, ALL_RULES)
    page.emulate_media(color_scheme="dark")
    found += [["dark", *each] for each in page.evaluate(RUN, COLOURS)]
    if moving := page.evaluate(MOVING):
        found.append(["moves", moving])
    if wider := page.evaluate(WIDER):
        found.append(["wider than the window", wider])
    return found
