// Keys that work everywhere. They are listed for people in the dialog of the account menu.
const byId = id => document.getElementById(id);
const isTyping = target => /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);

// On a layout of another script a key counts as the Latin one in its place; Latin layouts keep their own.
const keyOf = ({ key, code, shiftKey }) => {
  if (key.length > 1 || /[ -~]/.test(key)) return key.toLowerCase();
  return code === "Slash" ? (shiftKey ? "?" : "/") : code.replace(/^Key/, "").toLowerCase();
};

document.addEventListener("keydown", event => {
  if (event.isComposing) return;
  // With Alt it is AltGr, which writes signs.
  const mod = (event.ctrlKey || event.metaKey) && !event.altKey, key = keyOf(event);
  if (mod && key === "k") {
    event.preventDefault();
    const side = byId("side");
    if (side && getComputedStyle(side).display === "none") document.querySelector(".open-side").click();
    const search = byId("search");
    search?.focus();
    search?.select();
  } else if (mod && event.shiftKey && key === "o") {
    event.preventDefault();
    location.assign("/");
  } else if (key === "/" && !mod && !isTyping(event.target)) {
    if (!byId("text")) return;
    event.preventDefault();
    byId("text").focus();
  } else if (key === "?" && !mod && !isTyping(event.target)) {
    event.preventDefault();
    byId("shortcuts")?.showModal();
  } else if (event.key === "Escape" && !event.defaultPrevented) {
    // Escape closes what lies on top first, and empties the search. Toasts lie above the page and close by themselves.
    const isInTheWay = document.querySelector(":popover-open:not(#toasts), dialog[open]") || (event.target.id === "search" && event.target.value);
    if (!isInTheWay) byId("stop")?.click();
  }
});

// For browsers that do not know commandfor yet.
document.addEventListener("click", event => {
  const opener = event.target.closest("[commandfor]");
  if (opener && !("command" in opener)) byId(opener.getAttribute("commandfor")).showModal();
});
if (/Mac|iPhone|iPad/.test(navigator.platform)) document.querySelectorAll("[data-mod]").forEach(key => { key.textContent = "⌘"; });
