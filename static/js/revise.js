// Editing a message: Enter starts a new line, so Ctrl or ⌘ with Enter sends; Escape cancels.
document.addEventListener("keydown", event => {
  const revision = event.target.closest?.(".revision");
  if (!revision || event.isComposing) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) revision.requestSubmit();
  else if (event.key === "Escape") revision.querySelector("[data-escape]").click();
  else return;
  event.preventDefault();
});
// The pressed link disappears in the swap, so note before it where the focus goes.
let place = "";
document.addEventListener("htmx:before:swap", ({ detail: { ctx } }) => {
  if (ctx.sourceElement?.matches?.('.question [href$="/edit"], [data-escape]')) place = ctx.target.id;
});
document.addEventListener("htmx:after:swap", () => {
  const message = place ? document.getElementById(place) : null;
  const text = message?.querySelector("textarea");
  (text ?? message?.querySelector('[href$="/edit"]'))?.focus();
  text?.setSelectionRange(text.value.length, text.value.length);
  place = "";
});
