// Keyboard shortcuts. The dialog in the account menu lists them.
const byId = id => document.getElementById(id);
const isTyping = target => /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);

// On a non-Latin layout, a key counts as the Latin key in its place.
const keyOf = ({ key, code, shiftKey }) => {
  if (key.length > 1 || /[ -~]/.test(key)) return key.toLowerCase();
  return code === "Slash" ? (shiftKey ? "?" : "/") : code.replace(/^Key/, "").toLowerCase();
};

document.addEventListener("keydown", event => {
  if (event.isComposing) return;
  // Ctrl with Alt is AltGr, which types characters.
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
    // Escape first closes whatever is on top, and clears the search. Toasts don't count.
    const isInTheWay = document.querySelector(":popover-open:not(#toasts), dialog[open]") || (event.target.id === "search" && event.target.value);
    if (!isInTheWay) byId("stop")?.click();
  }
});

// For browsers without commandfor.
document.addEventListener("click", event => {
  const opener = event.target.closest("[commandfor]");
  if (opener && !("command" in opener)) byId(opener.getAttribute("commandfor")).showModal();
});
if (/Mac|iPhone|iPad/.test(navigator.platform)) document.querySelectorAll("[data-mod]").forEach(key => { key.textContent = "⌘"; });
