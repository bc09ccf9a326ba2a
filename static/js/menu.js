// The menu of a chat in the sidebar: one element for all chats, filled by the server and shown beside its button.
const menu = document.getElementById("chat-menu");

if (menu) {
  let opener = null, row = "", place = 0, before = null;
  const rows = () => [...document.querySelectorAll("#chats .chat-row")];
  document.addEventListener("htmx:before:request", ({ detail: { ctx } }) => { if (ctx.target === menu) before = document.activeElement; });
  document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
    if (ctx.target !== menu) return goBack();
    // Someone who didn't wait is typing by now. In some browsers, tapping the button leaves the focus where it was.
    const now = document.activeElement;
    if (now !== before && now.matches("input, textarea")) return;
    opener = ctx.sourceElement;
    row = opener.closest("li").id;
    place = rows().findIndex(each => each.id === row);
    menu.showPopover();
    const at = opener.getBoundingClientRect();
    menu.style.left = `${Math.min(at.left, innerWidth - menu.offsetWidth - 8)}px`;
    menu.style.top = `${Math.min(at.bottom + 4, innerHeight - menu.offsetHeight - 8)}px`;
    menu.querySelector("button, a")?.focus();
  });
  // The press that closes the menu must not open it again.
  let isShut = false;
  document.addEventListener("pointerdown", ({ target }) => { isShut = menu.matches(":popover-open") && opener?.contains(target); }, true);
  document.addEventListener("click", event => {
    const isPress = isShut && opener.contains(event.target);
    isShut = false;
    if (!isPress) return;
    event.preventDefault();
    event.stopPropagation();
  }, true);
  menu.addEventListener("toggle", event => {
    const isOpen = event.newState === "open";
    opener?.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) goBack();
  });
  // The focused element is gone with the menu or the replaced list. Focus the same chat, or what took its place.
  const goBack = () => {
    const now = document.activeElement;
    // A menu that has just closed keeps the focus until the next frame.
    const isLost = now === document.body || (menu.contains(now) && !menu.matches(":popover-open"));
    if (!row || !isLost) return;
    const next = document.getElementById(row) ?? rows()[Math.min(place, rows().length - 1)];
    (next?.querySelector(".more") ?? document.getElementById("search")).focus();
  };
  document.addEventListener("focusin", ({ target }) => { if (!target.closest("#chat-menu, #chats")) row = ""; });
  menu.addEventListener("click", () => setTimeout(() => menu.hidePopover()));
  menu.addEventListener("keydown", event => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const items = [...menu.querySelectorAll("button, a")];
    items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
  });
}

// Update the browser's title when the page's heading changes.
document.addEventListener("htmx:after:swap", () => {
  const title = document.querySelector("h1#title")?.textContent.trim();
  const whole = `${title} · ${document.querySelector("meta[name=application-name]").content}`;
  if (title && whole !== document.title) document.title = whole;
});

// While renaming: Escape, or an unchanged title, restores the row.
document.addEventListener("focusin", ({ target }) => { if (target.dataset?.cancel) target.select(); });
const putBack = input => htmx.ajax("GET", input.dataset.cancel, { target: "#chats", swap: "outerMorph" });
document.addEventListener("focusout", event => {
  if (event.target.dataset?.cancel && event.target.value === event.target.defaultValue) putBack(event.target);
});
document.addEventListener("keydown", event => {
  if (event.key !== "Escape" || !event.target.dataset?.cancel) return;
  // Don't also stop the answer or close the drawer.
  event.preventDefault();
  event.stopPropagation();
  event.target.value = event.target.defaultValue;
  event.target.blur();
});
